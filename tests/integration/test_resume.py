"""Interrupted runs resume in the same MLflow run, with the numbers of an uninterrupted one."""

import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.tracking import models
from pipeline.training import resuming
from tests.integration.conftest import Command, begin, history, models_of, newest, run_id_in, stopped_run
from tests.runs import new_run

TRAIN = ("--dataset", "digits", "--cell", "lstm", "--recipe", "accurate", "--epochs", 5, "--hidden-units", 8)


def check_each_step_stands_once(run_id: str) -> None:
    for metric in mlflow.get_run(run_id).data.metrics:
        steps = [step for step, _ in history(run_id, metric)]
        assert len(set(steps)) == len(steps), metric
    assert [1, 2, 3, 4, 5] == [step for step, _ in history(run_id)]


@pytest.fixture(scope="module")
def uninterrupted(command: Command) -> str:
    return run_id_in(command("run", *TRAIN).output)


def folder_of(run_id: str, store: Path) -> Path:
    return store / "data" / "checkpoints" / mlflow.get_run(run_id).data.tags["checkpoint"]


def test_a_run_that_was_killed_resumes_with_its_checkpoint_alone_to_the_numbers_of_an_uninterrupted_one(
    command: Command, uninterrupted: str, store: Path
) -> None:
    with begin("run", *TRAIN, "--new", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 2/5") for line in process.stdout)
        process.kill()
    run, client = newest(), MlflowClient()
    killed, folder = run.info.run_id, folder_of(run.info.run_id, store)

    folder.rename(store / "elsewhere")  # it may be on another machine, where a process trains the run
    output = command("run", "--resume", killed, exit_code=1).output
    (store / "elsewhere").rename(folder)
    assert f"data_dir: the checkpoint of run {killed} is not in " in output
    with resuming.hold(store / "data", folder.name):
        assert "another process is training this one" in command("run", "--resume", killed, exit_code=2).output
    assert run.to_dictionary() == client.get_run(killed).to_dictionary()
    assert "RUNNING" == run.info.status  # no process was left that could end it

    assert f"Resumed run {killed} after epoch " in command("run", "--resume", killed).output
    run, expected = client.get_run(killed), client.get_run(uninterrupted)
    assert "FINISHED" == run.info.status
    for metric in ("cost", "accuracy", "val_cost", "val_accuracy", "learning_rate"):
        assert history(uninterrupted, metric) == history(killed, metric)
    for metric in ("test_cost", "test_accuracy", "best_val_accuracy", "best_epoch"):
        assert expected.data.metrics[metric] == run.data.metrics[metric]
    check_each_step_stands_once(killed)
    assert not folder.exists()


def test_a_run_that_died_between_its_last_metric_and_its_end_is_ended_and_then_refused(
    command: Command, uninterrupted: str
) -> None:
    MlflowClient().update_run(uninterrupted, status="RUNNING")
    command("run", "--resume", uninterrupted)
    assert "FINISHED" == mlflow.get_run(uninterrupted).info.status
    check_each_step_stands_once(uninterrupted)

    result = command("run", "--resume", uninterrupted, exit_code=2)
    assert f"resume: must be the ID of an interrupted run; run {uninterrupted} has finished." in result.output


def test_the_same_command_resumes_a_stopped_run_then_reuses_it_unless_a_new_one_is_asked_for(command: Command) -> None:
    stopped = stopped_run(command, "run", *TRAIN, "--seed", 4, epoch=3)
    run = mlflow.get_run(stopped)
    assert ("KILLED", "Stopped by Ctrl-C or a termination signal.") == (run.info.status, run.data.tags["error"])

    resumed, reused, new = (command("run", *TRAIN, "--seed", 4, *more).output for more in ((), (), ("--new",)))

    assert f"Run {stopped} with the same fingerprint was interrupted: resuming it." in resumed
    assert f"Already trained as run {stopped}; --new trains again." in reused
    assert "epoch" not in reused
    assert [stopped, stopped] == [run_id_in(resumed), run_id_in(reused)] != [stopped, run_id_in(new)]
    assert history(run_id_in(new)) == history(stopped)
    run = mlflow.get_run(stopped)
    assert ("FINISHED", False) == (run.info.status, "error" in run.data.tags)
    check_each_step_stands_once(stopped)


def test_a_stop_while_the_model_is_logged_leaves_one_model_and_run_evaluates_it(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_model = models.log_model

    def stop(*arguments: Any, **named: Any) -> str:
        log_model(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models, "log_model", stop)
        command("train", *TRAIN, "--seed", 5, exit_code=130)
    run = newest()
    command("train", "--resume", run.info.run_id)
    assert 1 == len(models_of(run))
    assert mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/digits-lstm")
    assert "test_accuracy" not in mlflow.get_run(run.info.run_id).data.metrics

    assert run.info.run_id == run_id_in(command("run", *TRAIN, "--seed", 5).output)

    run = mlflow.get_run(run.info.run_id)
    assert ("FINISHED", True) == (run.info.status, "test_accuracy" in run.data.metrics)
    check_each_step_stands_once(run.info.run_id)
    assert not folder_of(run.info.run_id, store).exists()


def test_other_runs_cannot_be_resumed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = stopped_run(command, "train", *TRAIN, "--seed", 3, epoch=2)
    other = command("train", "--resume", stopped, "--hidden-units", 64, exit_code=2)
    assert "hidden_units: must be 8, as in the run to be resumed; got 64." in other.output
    with mlflow.start_run() as foreign:
        pass
    for run_id, said in (("0" * 32, "There is no run"), (foreign.info.run_id, "resume: must be a training run of")):
        assert said in command("train", "--resume", run_id, exit_code=1).output
    monkeypatch.setattr("pipeline.training.identity.version", lambda package: "another")
    code = command("train", "--resume", stopped, exit_code=2)
    assert f"resume: run {stopped} was started with other code, or another TensorFlow version" in code.output


def test_mlflow_run_reuses_a_finished_run_and_puts_the_run_that_it_has_opened_below_it(
    command: Command, uninterrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_run("clumsy-fish-12")
    monkeypatch.setenv("MLFLOW_RUN_ID", project)

    output = command("run", *TRAIN, "--register", "reused").output

    finished = run_id_in(output)
    assert f"Already trained as run {finished}; -P new=true trains again." in output
    assert f"Test accuracy {mlflow.get_run(finished).data.metrics['test_accuracy']:.2%}" in output
    assert finished == MlflowClient().get_model_version_by_alias("reused", "champion").run_id
    MlflowClient().set_terminated(project)  # like `mlflow run`
    tags = mlflow.get_run(project).data.tags
    assert ("stage", finished) == (tags["kind"], tags["mlflow.parentRunId"])
