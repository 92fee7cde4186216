"""Parameters from a file."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli.app import check_declared, read
from pipeline.commands import COMMANDS
from pipeline.errors import UsageError

COMPARE, SEARCH = ([*each.options, *each.parameters] for each in (COMMANDS["compare"], COMMANDS["search"]))


def written(folder: Path, text: str) -> str:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return str(path)


def test_values_are_the_texts_that_would_be_typed(tmp_path: Path) -> None:
    text = (
        "learning-rate: 1e-3\nema: 0.99\nbatch_size: 64\nseeds: [1, 2]\ncells: lstm  # best\ndry_run: true\non: local\n"
    )
    expected = {"learning_rate": "1e-3", "ema": "0.99", "batch_size": "64", "seeds": "1,2", "cells": "lstm"}

    assert (text, expected | {"dry_run": True, "on": "local"}) == read(written(tmp_path, text), COMPARE)
    assert {} == read(written(tmp_path, "register:\ndry_run: false\n"), COMPARE)[1]  # defaults
    assert {"ranges": ["a=1", "b=2"]} == read(written(tmp_path, "range: [a=1, b=2]\n"), SEARCH)[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must have lines such as `epochs: 10`; it has 'None'"),
        (b"just a sentence", "it has 'just a sentence'"),
        (b"epochs: [1", "cannot be read as a YAML file: while parsing"),
        (b"a: !!python/object/apply:os.system [ls]", "cannot be read as a YAML file: could not determine"),
        (b"[" * 5_000, "cannot be read as a YAML file: maximum recursion"),
        (b"\xff\xfe\x00", r"config: .*experiment\.yaml cannot be read as a YAML file: "),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "experiment.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read(str(tmp_path / "experiment.yaml"), COMPARE)
    with pytest.raises(UsageError, match=r"config: .* cannot be read as a YAML file: No such file"):
        read(str(tmp_path / "none.yaml"), COMPARE)


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("run", "epochz: 3", "config: there is no parameter epochz in this command. Did you mean epochs?"),
        ("compare", "cell: gru", "there is no parameter cell in this command. Did you mean cells?"),
        ("download", "xyz: 1", "The parameters are columns, data_dir, dataset, "),
        ("run", "config: other.yaml", "there is no parameter config"),
        ("compare", "workers: 0", "workers: must be at least 1; got 0."),
        ("run", "epochs: {a: 1}", "epochs: must be a whole number; got \"{'a': 1}\"."),
        ("report", "format: mardown", "format: must be 'markdown', 'csv' or 'json'; got 'mardown'."),
        ("run", "epochs: 0\nbatch_size: 0", "epochs: must be at least 1; got -1. batch_size: must"),
    ],
)
def test_wrong_values_are_named_and_typed_options_win(tmp_path: Path, command: str, text: str, said: str) -> None:
    typed = ("--epochs", "-1") if "epochs: 0" in text else ()
    arguments = [command, "--config", written(tmp_path, text), *typed]
    result: Any = CliRunner().invoke(app.app, arguments, prog_name="pipeline")
    assert 2 == result.exit_code
    assert said in result.output.replace("\n", " ")


def test_defaults_passed_by_mlflow_run_must_agree_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"cell": "lstm", "epochs": "3"}
    check_declared(said, {"cell": "gru"})
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)

    check_declared(said, {"cell": "lstm", "epochs": "5"})
    with pytest.raises(UsageError, match="cell: is lstm in the configuration file, but `mlflow run` passes on its def"):
        check_declared(said, {"cell": "gru"})
