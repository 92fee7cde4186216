"""The MLflow project: real `mlflow run`s of this folder, and all entry points."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import PROJECT, newest


def project_run(env_manager: str, *parameters: str, **options: Any) -> "subprocess.Popen[str]":
    """Start `mlflow run` in this folder."""
    words = [word for each in parameters for word in ("-P", each)]
    return subprocess.Popen(
        [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", env_manager, *words],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


@pytest.mark.slow
def test_the_project_runs_in_an_environment_that_uv_builds_with_parameters_that_it_does_not_declare(
    store: Path,
) -> None:
    with_space, config = store / "a folder with space", store / "project.yaml"
    config.write_text("dataset: digits\nhidden_units: 8\nepochs: 2\ncell: rnn\n")
    given = ("cell=rnn", "recipe=accurate", "learning_rate=1e-2", f"config={config}", f"data_dir={with_space}")

    with project_run("uv", *given, stderr=subprocess.STDOUT) as process:
        output = process.communicate()[0]

    assert 0 == process.returncode, output
    assert "Test accuracy" in output
    assert "WARNING" not in output.replace("WARNING: All log messages before absl::InitializeLog()", "")
    run = newest()
    assert ("rnn-digits-accurate-units=8-lr=0.01-epochs=2-s1", "FINISHED") == (run.info.run_name, run.info.status)
    assert "uv" == run.data.tags["mlflow.project.env"]
    resolved = {"cell": "rnn", "recipe": "accurate", "augmentation": "affine", "seed": "1", "dataset": "digits"}
    resolved |= {"epochs": "2", "steps": "8", "hidden_units": "8"}
    assert resolved.items() <= run.data.params.items()
    assert str(with_space) == shlex.split(run.data.params["data_dir"])[0]
    assert 0.01 == float(run.data.params["learning_rate"])
    assert "test_accuracy" in run.data.metrics


def test_ctrl_c_on_a_project_run_is_recorded(store: Path) -> None:
    with project_run("local", "dataset=digits", "epochs=100000", f"data_dir={store / 'data'}") as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch ") for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # like a terminal, to every process of the command

    assert process.returncode
    assert "Stopped by Ctrl-C or a termination signal." == newest().data.tags["error"]
    assert newest().info.status in {"KILLED", "FAILED"}  # MLflow 3.17 replaces KILLED by FAILED


def test_the_entry_points_work_one_after_the_other(store: Path, entry_point: Callable[..., Run]) -> None:
    data, client = {"data_dir": str(store / "stages")}, MlflowClient()
    for stage in ("download", "preprocess"):
        run = entry_point(stage, dataset="digits", **data)
        assert (stage, "stage") == (run.info.run_name, run.data.tags["kind"])
    trained = entry_point("train", cell="lstm", hidden_units=8, epochs=2, dataset="digits", **data)
    run_id = trained.info.run_id
    assert "lstm-digits-units=8-epochs=2-s1" == trained.info.run_name
    assert "test_accuracy" not in trained.data.metrics

    evaluation = entry_point("evaluate", run_name="tuesday", run_id=run_id, **data)

    assert "tuesday" == evaluation.info.run_name  # the name that the user gave stays
    assert run_id == evaluation.data.tags["mlflow.parentRunId"]
    assert "test_accuracy" not in evaluation.data.metrics
    assert "test_accuracy" in mlflow.get_run(run_id).data.metrics
    for name, force in (("other", "true"), ("first", "false")):
        promotion = entry_point("promote", run_id=run_id, name=name, force=force)
        assert run_id == promotion.data.tags["mlflow.parentRunId"]
        assert run_id == client.get_model_version_by_alias(name, "champion").run_id
