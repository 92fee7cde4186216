"""Parameters from a file."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app, configuration
from pipeline.cli.configuration import Configuration
from pipeline.errors import UsageError

PROJECT = Path(__file__).parents[3]


def written(folder: Path, text: str) -> str:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return str(path)


def test_values_are_the_texts_that_would_be_typed(tmp_path: Path) -> None:
    text = "learning-rate: 1e-3\nbatch_size: 064\nseeds: [1, 2]\ncell: lstm  # the best\nforce: true\n"

    read = configuration.read(written(tmp_path, text))

    assert text == read.text
    assert {
        "learning_rate": "1e-3",
        "batch_size": "064",
        "seeds": "1,2",
        "cell": "lstm",
        "force": True,
    } == read.values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "received nothing"),
        ("just a sentence", "received 'just a sentence'"),
        ("- epochs", "expected lines such as `epochs: 10`"),
        ("epochs: [1", "expected a YAML file"),
        ("epochs:", "epochs: expected a value or a list of values in .*, received nothing"),
        ("epochs: {a: 1}", "epochs: expected a value or a list of values"),
        ("seeds: [1, [2]]", "seeds: expected a value or a list of values"),
        ("batch-size: 1\nbatch_size: 2", "expected each parameter once in .*, received batch_size twice"),
        ("epochs: 1\nepochs: 2", "received .*: epochs stands there twice"),
        ("a: !!python/object/apply:os.system [ls]", "expected a YAML file"),
        ("[" * 5_000, "expected a YAML file"),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration.read(written(tmp_path, text))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError, match=r"config: expected a YAML file, received .*experiment\.yaml: "):
        configuration.read(str(path))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments), prog_name="pipeline")


def test_what_is_typed_wins(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs: 0\nbatch_size: 0")

    result = run("train", "--config", path, "--epochs", "-1", "--data-dir", str(tmp_path))

    assert 2 == result.exit_code
    assert "epochs: expected greater than or equal to 1, received -1." in result.output
    assert "batch_size: expected greater than or equal to 1, received 0." in result.output


def test_options_that_are_no_settings_stand_in_it_too(tmp_path: Path) -> None:
    result = run("compare", "--config", written(tmp_path, "workers: 0"))

    assert 2 == result.exit_code
    assert "workers: expected greater than or equal to 1." in result.output


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("run", "epochz: 3", "config: expected parameters of `pipeline run`, received epochz. Did you mean epochs?"),
        ("compare", "cell: gru", "config: expected parameters of `pipeline compare`, received cell."),
        ("download", "xyz: 1", "received xyz. Known are data_dir, dataset, "),
        ("run", "config: other.yaml", "received config."),
    ],
)
def test_an_unknown_parameter_is_named(tmp_path: Path, command: str, text: str, said: str) -> None:
    result = run(command, "--config", written(tmp_path, text))

    assert 2 == result.exit_code
    assert said in result.output.replace("\n", " ")


def test_what_mlflow_run_hands_on_untold_must_be_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Configuration("", {"cell": "lstm", "epochs": "3"})
    configuration.check_declared(said, {"cell": "gru"})
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)

    configuration.check_declared(said, {"cell": "lstm", "epochs": "5"})
    with pytest.raises(UsageError, match="cell: expected lstm, as in the file of config, received gru from `mlflow ru"):
        configuration.check_declared(said, {"cell": "gru"})


def test_it_is_known_what_the_project_declares_of_the_settings() -> None:
    points = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"].values()
    declared = {name for point in points for name in point.get("parameters", {})}
    assert declared - {"run_id"} == configuration.DECLARED
