"""Real runs of the command line, in this process or in a new one, with a real store."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.epochs import EpochRecord
from pipeline.tracking import store as tracking
from tests.runs import new_run

PROJECT = Path(__file__).parents[2]

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def store(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make all tests of this folder track into one new folder, with its own store and data.

    A shell finds the commands of this Python.
    """
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(made_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="session")
def command(store: Path) -> Command:
    """Return a function that runs ``pipeline`` in this process; it expects exit code 0 by default."""

    def run(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert exit_code == result.exit_code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def entry_point(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Return a function that runs an entry point of the project in this process, like ``mlflow run -e``."""

    def run(entry: str, *, run_name: str = "clumsy-fish-12", **given: object) -> Run:
        declared = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"][entry]
        defaults = {name: each.get("default") for name, each in declared.get("parameters", {}).items()}
        values, client = {name: str(value) for name, value in (defaults | given).items()}, MlflowClient()
        words = shlex.split(declared["command"].format(**values)) + [
            word for name in given.keys() - defaults.keys() for word in (f"--{name}", values[name])
        ]
        run_id = new_run(run_name)
        for name, value in values.items():
            client.log_param(run_id, name, value)
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_RUN_ID", run_id)
            command(*words[3:])  # the words after `python -m pipeline`
        client.set_terminated(run_id)
        return client.get_run(run_id)

    return run


def save_cell(folder: Path) -> Path:
    """Save the first block of Python in docs/cells.md under the name in that page."""
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    path = folder / "my_cells.py"
    path.write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    return path


DIGITS = ("run", "--dataset", "digits", "--epochs", 3, "--hidden-units", 16, "--learning_rate", "1e-2", "--shards", 2)


@pytest.fixture(scope="session")
def digits_run(command: Command) -> str:
    return run_id_in(command(*DIGITS).output)


@pytest.fixture(scope="session")
def mnist_champion(command: Command) -> str:
    """Return the id of a run with the recipe quick; its model is ``models:/mnist@champion``."""
    return run_id_in(command("run", "--recipe", "quick", "--register", "mnist").output)


@pytest.fixture(scope="session")
def gestures(store: Path) -> Path:
    """Write a table of 90 gestures of 5 to 20 steps; the class is the direction in which ``x`` goes."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(90):
        length, slope = int(random.integers(5, 21)), number % 3 - 1
        x = 3 * slope * np.linspace(-1, 1, length) + random.normal(0, 0.3, length)
        rows += [(f"g{number:02}", ("falls", "rests", "rises")[slope + 1], *step) for step in zip(x, -x, strict=True)]
    path = store / "gestures.parquet"
    pd.DataFrame(rows, columns=["id", "label", "x", "y"]).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def forward_model(command: Command, gestures: Path) -> str:
    """Return the address of a model of gestures that reads forward only, so it has answers after each step."""
    options = ("--cell", "gru", "--direction", "forward", "--hidden-units", 16, "--epochs", 20)
    command("run", "--source", gestures, *options, "--register", "forward")
    return "models:/forward@champion"


def run_id_in(output: str) -> str:
    """Return the run id in the last line of a command."""
    return output.rpartition("Run ID: ")[2].partition(".")[0]


def one_line(result: Result) -> str:
    """Return the output of a command as one line."""
    return " ".join(result.output.split())


def newest(query: str = "") -> Run:
    """Return the run that began last."""
    return mlflow.search_runs(filter_string=query, output_format="list", max_results=1)[0]


def run_count() -> int:
    return len(mlflow.search_runs(output_format="list"))


def history(run_id: str, metric: str = "cost") -> list[tuple[int, float]]:
    """Return the steps and values of a metric, in the order of logging."""
    return [(entry.step, entry.value) for entry in MlflowClient().get_metric_history(run_id, metric)]


def models_of(run: Run) -> list[Any]:
    """Return the models that a run has logged."""
    query = f"source_run_id = '{run.info.run_id}'"
    return list(MlflowClient().search_logged_models([run.info.experiment_id], filter_string=query))


def stopped_run(command: Command, *arguments: object, epoch: int) -> str:
    """Stop a command before it logs an epoch, as Ctrl-C does; return the id of its run."""
    log_epoch = tracking.log_epoch

    def interrupted(run_id: str, record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise KeyboardInterrupt
        log_epoch(run_id, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_epoch", interrupted)
        command(*arguments, exit_code=130)
    return str(newest().info.run_id)


def begin(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start ``pipeline`` in a new process group, so a signal to the group also ends its workers."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.Popen(command, text=True, start_new_session=True, **options)
