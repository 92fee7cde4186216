"""The MLflow project: real `mlflow run`s of this folder, and all entry points."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import PROJECT, Command, newest, stopped_run
from tests.runs import new_run


@pytest.mark.slow
def test_the_project_runs_in_an_environment_that_uv_builds_with_parameters_that_it_does_not_declare(
    store: Path,
) -> None:
    with_space, config = store / "a folder with space", store / "project.yaml"
    config.write_text("dataset: digits\nhidden_units: 8\nepochs: 2\ncell: rnn\n")
    given = ("cell=rnn", "recipe=accurate", "learning_rate=1e-2", f"config={config}", f"data_dir={with_space}")
    words = [word for each in given for word in ("-P", each)]
    command = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "uv", *words]
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    output = done.stdout

    assert 0 == done.returncode, output
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


def test_ctrl_c_on_a_project_run_is_recorded(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow run` passes the signal on; see `test_startup.py`."""
    project = new_run("clumsy-fish-12")
    monkeypatch.setenv("MLFLOW_RUN_ID", project)

    assert project == stopped_run(command, "run", "--dataset", "digits", "--data-dir", store / "data", epoch=2)

    run = mlflow.get_run(project)
    assert ("KILLED", "Stopped by Ctrl-C or a termination signal.") == (run.info.status, run.data.tags["error"])


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
