"""Real `mlflow run`s of the project in this folder, in the environment of the tests and in one that MLflow builds."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from tests.integration.conftest import PROJECT, environment, run_process
from tests.servers import TrackingServer

SMALL = ("-P", "dataset=digits", "-P", "hidden_units=8", "-P", "epochs=2")

OPTIONS = "digits-units=8-epochs=2"
"""What the names of its runs say of the data and the parameters."""


def mlflow_run(*arguments: object, env_manager: str = "local") -> str:
    """Run the project and return all that was printed."""
    done = run_process("mlflow", "run", ".", "--env-manager", env_manager, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def latest_run() -> Run:
    return mlflow.search_runs(output_format="list", order_by=["start_time DESC"], max_results=1)[0]


def test_the_project_runs_with_parameters_of_a_file_and_some_that_it_does_not_declare(store: Path) -> None:
    with_space, config = store / "a folder with space", store / "project.yaml"
    config.write_text("dataset: digits\nhidden_units: 8\nepochs: 2\ncell: rnn\n")
    of_file = ("-P", f"config={config}", "-P", f"data_dir={with_space}")
    other = run_process("mlflow", "run", ".", "--env-manager", "local", *of_file)  # whose cell is declared, as gru
    assert "cell: expected rnn, as in the file of config, received gru" in other.stderr

    mlflow_run(*of_file, "-P", "cell=rnn", "-P", "recipe=accurate", "-P", "learning_rate=1e-2")

    run = latest_run()
    assert ("rnn-digits-accurate-units=8-lr=0.01-epochs=2-s1", "FINISHED") == (run.info.run_name, run.info.status)
    assert {
        "cell": "rnn",
        "recipe": "accurate",
        "augmentation": "affine",
        "seed": "1",
        "dataset": "digits",
        "epochs": "2",
        "steps": "8",
        "hidden_units": "8",
    }.items() <= run.data.params.items()
    assert str(with_space) == shlex.split(run.data.params["data_dir"])[0]
    assert 0.01 == float(run.data.params["learning_rate"])
    assert "test_accuracy" in run.data.metrics


def test_the_stages_run_one_after_the_other(store: Path) -> None:
    data = ("-P", "dataset=digits", "-P", f"data_dir={store / 'stages'}")
    for stage in ("download", "preprocess"):
        mlflow_run("-e", stage, *data)
        assert (stage, "stage") == (latest_run().info.run_name, latest_run().data.tags["kind"])
    mlflow_run("-e", "train", *data, "-P", "cell=lstm", "-P", "hidden_units=8", "-P", "epochs=2")
    trained = latest_run()
    assert f"lstm-{OPTIONS}-s1" == trained.info.run_name
    assert "test_accuracy" not in trained.data.metrics
    name = ("--run-name", "tuesday")
    mlflow_run("-e", "evaluate", "-P", f"run_id={trained.info.run_id}", "-P", f"data_dir={store / 'stages'}", *name)

    evaluation = latest_run()
    assert "tuesday" == evaluation.info.run_name  # the user's name stays
    assert trained.info.run_id == evaluation.data.tags["mlflow.parentRunId"]
    assert "test_accuracy" not in evaluation.data.metrics
    assert "test_accuracy" in mlflow.get_run(trained.info.run_id).data.metrics


def test_a_project_run_that_fails_says_so_and_ends_as_failed(store: Path) -> None:
    done = run_process(
        "mlflow", "run", ".", "--env-manager", "local", *SMALL, "-P", "steps=7", "-P", f"data_dir={store / 'data'}"
    )

    assert done.returncode != 0
    assert "steps: expected a divisor of 8 × 8 = 64 pixels, received 7." in done.stderr
    assert "FAILED" == latest_run().info.status


def test_ctrl_c_on_a_project_run_is_recorded(store: Path) -> None:
    arguments = ["-P", "dataset=digits", "-P", "epochs=100000", "-P", f"data_dir={store / 'data'}"]
    with subprocess.Popen(
        [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local", *arguments],
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch ") for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command

    assert "Stopped by Ctrl-C or a termination signal." == latest_run().data.tags["error"]
    assert latest_run().info.status in {"KILLED", "FAILED"}  # MLflow 3.17 writes FAILED over KILLED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a tracking server on a file and a folder."""
    server = TrackingServer(tmp_path_factory.mktemp("server"), None, None)
    server.start()
    yield server.address
    server.stop()


def test_the_project_tracks_registers_and_promotes_on_a_server(
    store: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)

    output = mlflow_run(*SMALL, "-P", f"data_dir={store / 'data'}", "-P", "register=first")

    run, client = latest_run(), mlflow.MlflowClient()
    run_id = run.info.run_id
    page = f"{server}/#/experiments/{run.info.experiment_id}/runs/{run_id}?workflowType=machine_learning"
    assert f"Run {run_id} holds all of it. Look at it at {page}\n" in output
    assert (f"gru-{OPTIONS}-s1", "FINISHED") == (run.info.run_name, run.info.status)
    assert "test_accuracy" in run.data.metrics
    model = mlflow.pyfunc.load_model("models:/first@champion")
    assert run_id == model.metadata.run_id
    assert (-1, 10) == model.metadata.signature.outputs.inputs[0].shape

    for name, force in (("other", "true"), ("first", "false")):
        mlflow_run("-e", "promote", "-P", f"run_id={run_id}", "-P", f"name={name}", "-P", f"force={force}")

        assert run_id == latest_run().data.tags["mlflow.parentRunId"]
        assert run_id == client.get_model_version_by_alias(name, "champion").run_id


def below(parent: Run) -> list[Run]:
    """Return the runs that name this one as their parent."""
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(mlflow.search_runs(filter_string=query, output_format="list"))


def test_the_project_compares_into_a_server(store: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)

    mlflow_run("-e", "compare", "-P", "cells=rnn,gru", "-P", "seeds=2", *SMALL, "-P", f"data-dir={store / 'data'}")

    (parent,) = mlflow.search_runs(filter_string="params.cells = 'rnn,gru'", output_format="list")
    assert ("compare-rnn-gru-digits", "2") == (parent.info.run_name, parent.data.params["seeds"])
    groups = below(parent)
    trainings = [run for group in groups for run in below(group)]
    assert {f"rnn-{OPTIONS}", f"gru-{OPTIONS}"} == {run.info.run_name for run in groups}
    assert {f"rnn-{OPTIONS}-s2", f"gru-{OPTIONS}-s2"} == {run.info.run_name for run in trainings}
    assert {"FINISHED"} == {run.info.status for run in [parent, *groups, *trainings]}
    page = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/comparison/report.html")
    assert f"gru-{OPTIONS}-s2" in page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_project_runs_in_an_environment_that_uv_builds(store: Path) -> None:
    output = mlflow_run(*SMALL, "-P", f"data_dir={store / 'data'}", env_manager="uv")

    assert "Test accuracy" in output
    assert "WARNING" not in output.replace("WARNING: All log messages before absl::InitializeLog()", "")
    assert "uv" == latest_run().data.tags["mlflow.project.env"]
