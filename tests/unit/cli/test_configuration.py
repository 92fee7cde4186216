"""Parameters from a file."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli.command import Configuration, check_declared, read
from pipeline.errors import UsageError


def written(folder: Path, text: str) -> str:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return str(path)


def test_values_are_the_texts_that_would_be_typed(tmp_path: Path) -> None:
    text = "learning-rate: 1e-3\nema: 0.99\nbatch_size: 64\nseeds: [1, 2]\ncell: lstm  # best\nforce: true\non: local\n"

    found = read(written(tmp_path, text))

    assert text == found.text
    expected = {"learning_rate": "1e-3", "ema": "0.99", "batch_size": "64", "seeds": "1,2", "cell": "lstm"}
    assert expected | {"force": True, "on": "local"} == found.values


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "received 'None'"),
        (b"just a sentence", "received 'just a sentence'"),
        (b"- epochs", "expected lines such as `epochs: 10`"),
        (b"epochs: [1", "expected a YAML file"),
        (b"epochs:", "epochs: expected a value or a list of values in .*, received 'None'"),
        (b"epochs: {a: 1}", "epochs: expected a value or a list of values"),
        (b"seeds: [1, [2]]", "seeds: expected a value or a list of values"),
        (b"a: !!python/object/apply:os.system [ls]", "expected a YAML file"),
        (b"[" * 5_000, "expected a YAML file"),
        (b"\xff\xfe\x00", r"config: expected a YAML file, received .*experiment\.yaml: "),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "experiment.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read(str(tmp_path / "experiment.yaml"))
    with pytest.raises(UsageError, match=r"config: expected a YAML file, received .*: No such file"):
        read(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("run", "epochz: 3", "config: expected parameters of `pipeline run`, received epochz. Did you mean epochs?"),
        ("compare", "cell: gru", "received cell. Did you mean cells?"),
        ("download", "xyz: 1", "received xyz. The parameters are columns, data_dir, dataset, "),
        ("run", "config: other.yaml", "received config."),
        ("compare", "workers: 0", "workers: expected greater than or equal to 1."),
        (
            "report",
            "format: mardown",
            "format: expected one of 'markdown', 'csv', 'json', 'latex', received 'mardown'.",
        ),
        (
            "run",
            "epochs: 0\nbatch_size: 0",
            "epochs: expected greater than or equal to 1, received -1. batch_size: exp",
        ),
    ],
)
def test_what_is_wrong_is_named_and_typed_options_win(tmp_path: Path, command: str, text: str, said: str) -> None:
    typed = ("--epochs", "-1") if "epochs: 0" in text else ()
    arguments = [command, "--config", written(tmp_path, text), *typed]
    result: Any = CliRunner().invoke(app.app, arguments, prog_name="pipeline")
    assert 2 == result.exit_code
    assert said in result.output.replace("\n", " ")


def test_what_mlflow_run_passes_on_unasked_must_be_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Configuration("", {"cell": "lstm", "epochs": "3"})
    check_declared(said, {"cell": "gru"})
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)

    check_declared(said, {"cell": "lstm", "epochs": "5"})
    with pytest.raises(UsageError, match="cell: expected lstm, as in the configuration file, received gru from"):
        check_declared(said, {"cell": "gru"})
