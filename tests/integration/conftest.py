"""Real runs of the command line, in this process or as a process of its own, each against a real store."""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from tests.runs import new_run

PROJECT = Path(__file__).parents[2]

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with a store and data of its own the one that all tests of this folder track into."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="session")
def command(store: Path) -> Command:
    """Return a function that runs ``pipeline`` in this process; it expects exit code 0 unless told."""

    def run(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert exit_code == result.exit_code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def entry_point(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Return a function that does in this process what ``mlflow run -e`` does for an entry point of the project."""

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
            command(*words[3:])  # after: python -m pipeline
        client.set_terminated(run_id)
        return client.get_run(run_id)

    return run


@dataclass(frozen=True)
class Training:
    """A run on digits, and what the terminal showed of it."""

    run_id: str
    output: str


DIGITS = ("run", "--dataset", "digits", "--epochs", 3, "--hidden-units", 16, "--learning_rate", "1e-2", "--shards", 2)


@pytest.fixture(scope="session")
def digits_run(command: Command) -> Training:
    output = command(*DIGITS).output
    return Training(run_id_in(output), output)


@pytest.fixture(scope="session")
def mnist_champion(command: Command) -> str:
    """Return the id of a run of two epochs on MNIST; its model is ``models:/mnist@champion``."""
    options = ("--epochs", 2, "--hidden-units", 64)
    return run_id_in(command("run", *options, "--register", "mnist").output)


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
    """Return the address of a model of gestures that reads forward, and so has answers after each step."""
    options = ("--cell", "gru", "--direction", "forward", "--hidden-units", 16, "--epochs", 20)
    command("run", "--source", gestures, *options, "--register", "forward")
    return "models:/forward@champion"


def run_id_in(output: str) -> str:
    """Return the id that the last line of ``pipeline run`` or ``train`` names."""
    return output.rpartition("Run ")[2].split()[0]


def environment() -> dict[str, str]:
    """Return the environment variables with which a shell finds the commands of this Python."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment in the project's folder and return what it printed."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def free_ports(count: int) -> list[int]:
    """Return ports that are free, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    return free_ports(1)[0]


def wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers; fail when it ends before."""
    while True:
        assert process.poll() is None, f"the server for {address} ended with exit code {process.returncode}"
        with contextlib.suppress(requests.RequestException):  # refused, or too slow
            if requests.get(address, timeout=1).ok:
                return
        time.sleep(0.2)
