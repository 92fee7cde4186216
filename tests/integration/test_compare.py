"""Comparisons of real trainings: killed, repeated, taken over, failing in part, and against a run of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import Command, environment, run_id_in, run_process

SMALL = ("--dataset", "digits", "--hidden-units", "12", "--learning-rate", "0.01", "--epochs", "60")
COMPARE = ("compare", "--cells", "rnn,gru", "--seeds", "1,2", *SMALL)


def children(parent: str) -> dict[str, Run]:
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return {run.info.run_name: run for run in mlflow.search_runs(filter_string=query, output_format="list")}


def costs(run_id: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in MlflowClient().get_metric_history(run_id, "cost")]


def artifacts(run_id: str) -> set[str]:
    return {Path(file.path).name for file in MlflowClient().list_artifacts(run_id, "comparison")}


def kill_in_the_middle(store: Path) -> None:
    """Start the comparison and kill all its processes when a training has finished an epoch."""
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *COMPARE], env=environment(), stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while not list((store / "data" / "checkpoints").glob("*/checkpoint.npz")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def own_store(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give these tests an experiment and a data folder of their own: others do the same trainings."""
    folder = tmp_path_factory.mktemp("compare")
    os.environ["MLFLOW_EXPERIMENT_NAME"] = "compare"
    os.chdir(folder)
    return folder
