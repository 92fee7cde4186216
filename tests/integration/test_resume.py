"""Trainings that are cut off, and go on in the same run to the numbers of one that was not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.tracking import models, store
from pipeline.training import checkpoints
from pipeline.training.checkpoints import RunLocks
from tests.integration.conftest import Command, run_id_in
from tests.runs import new_run

TRAIN = ("--dataset", "digits", "--cell", "lstm", "--recipe", "accurate", "--epochs", 8, "--hidden-units", 16)


def history(run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in MlflowClient().get_metric_history(run_id, metric)]


def check_each_step_stands_once(run_id: str) -> None:
    for metric in mlflow.get_run(run_id).data.metrics:
        steps = [step for step, _ in history(run_id, metric)]
        assert len(set(steps)) == len(steps), metric
    assert list(range(1, 9)) == [step for step, _ in history(run_id, "cost")]


@pytest.fixture(scope="module")
def uninterrupted(command: Command) -> str:
    return run_id_in(command("run", *TRAIN).output)


@pytest.fixture(scope="module")
def killed(store: Path, uninterrupted: str) -> str:
    """Return a run whose process was killed after its first epochs."""
    before = set((store / "data" / "checkpoints").glob("*"))
    command = [sys.executable, "-m", "pipeline", "run", *map(str, TRAIN), "--new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 2/8") for line in process.stdout)
        process.kill()
        process.stdout.read()
    (folder,) = set((store / "data" / "checkpoints").glob("*")) - before
    return run_of(folder)


def run_of(folder: Path) -> str:
    """Return the id of the run whose checkpoint is in a folder."""
    query = f"tags.checkpoint = '{folder.name}'"
    return str(mlflow.search_runs(filter_string=query, output_format="list")[0].info.run_id)


def folder_of(run_id: str, store: Path) -> Path:
    return store / "data" / "checkpoints" / mlflow.get_run(run_id).data.tags["checkpoint"]


def test_a_run_without_its_checkpoint_or_with_a_process_at_it_is_refused_and_stays_as_it_is(
    command: Command, killed: str, store: Path
) -> None:
    """The checkpoint may be on another machine, whose process trains it."""
    before, folder = mlflow.get_run(killed).to_dictionary(), folder_of(killed, store)
    folder.rename(store / "elsewhere")
    try:
        output = command("run", "--resume", killed, exit_code=1).output
    finally:
        (store / "elsewhere").rename(folder)
    assert f"data_dir: the checkpoint of run {killed} is not in " in output

    with RunLocks(store / "data").hold(folder.name):
        assert "another process is training this one" in command("run", "--resume", killed, exit_code=2).output

    assert before == mlflow.get_run(killed).to_dictionary()
    assert "RUNNING" == before["info"]["status"]  # nobody could mark it


def test_a_killed_run_goes_on_to_the_numbers_of_one_that_was_not(
    command: Command, uninterrupted: str, killed: str, store: Path
) -> None:
    output = command("run", "--resume", killed).output

    assert f"Resumed run {killed} after epoch " in output
    run = mlflow.get_run(killed)
    assert "FINISHED" == run.info.status
    for metric in ("cost", "accuracy", "val_cost", "val_accuracy", "learning_rate"):
        assert history(uninterrupted, metric) == history(killed, metric)
    for metric in ("test_cost", "test_accuracy", "best_val_accuracy", "best_epoch"):
        assert mlflow.get_run(uninterrupted).data.metrics[metric] == run.data.metrics[metric]
    check_each_step_stands_once(killed)
    assert not folder_of(killed, store).exists()


def test_one_that_has_ended_is_refused(command: Command, uninterrupted: str) -> None:
    result = command("run", "--resume", uninterrupted, exit_code=2)

    assert f"resume: must be the ID of an interrupted run; run {uninterrupted} has finished." in result.output


def stopped_run(command: Command, monkeypatch: pytest.MonkeyPatch, *arguments: object, epoch: int) -> str:
    """Stop a command while it logs an epoch; return its run."""
    log_epoch = store.log_epoch

    def half(run_id: str, record: Any) -> None:
        if record.epoch == epoch:
            store.log_metrics(run_id, {"cost": record.cost}, step=epoch)
            raise KeyboardInterrupt
        log_epoch(run_id, record)

    with monkeypatch.context() as patch:
        patch.setattr(store, "log_epoch", half)
        command(*arguments, exit_code=130)
    return str(mlflow.search_runs(output_format="list", max_results=1)[0].info.run_id)


def test_a_stop_while_an_epoch_is_logged_loses_and_doubles_nothing(
    command: Command, uninterrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = stopped_run(command, monkeypatch, "train", *TRAIN, "--new", epoch=3)
    run = mlflow.get_run(run_id)
    assert ("KILLED", "Stopped by Ctrl-C or a termination signal.") == (run.info.status, run.data.tags["error"])

    command("train", "--resume", run_id)

    assert history(uninterrupted, "val_accuracy") == history(run_id, "val_accuracy")
    check_each_step_stands_once(run_id)
    assert "error" not in mlflow.get_run(run_id).data.tags

    command("run", "--resume", run_id)  # what `train` has left undone

    assert history(uninterrupted, "test_cost") == history(run_id, "test_cost")


def test_a_stop_while_the_model_is_logged_leaves_one_model(
    command: Command, uninterrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_model = models.log_model

    def stopped(*arguments: Any, **named: Any) -> str:
        log_model(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models, "log_model", stopped)
        command("train", *TRAIN, "--new", exit_code=130)
    run = mlflow.search_runs(output_format="list", max_results=1)[0]

    command("train", "--resume", run.info.run_id)

    logged = MlflowClient().search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    assert 1 == len(logged)
    assert mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/digits-lstm")
    check_each_step_stands_once(run.info.run_id)


@pytest.fixture(scope="module")
def stopped(command: Command, uninterrupted: str) -> str:
    """Return a run that was stopped after its first epoch."""
    with pytest.MonkeyPatch.context() as patch:
        return stopped_run(command, patch, "train", *TRAIN, "--epochs", 2, "--new", epoch=1)


def test_what_cannot_be_resumed_is_explained(
    command: Command, stopped: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = command("train", "--resume", stopped, "--hidden-units", 64, exit_code=2)
    assert "hidden_units: must be 16, as in the run to be resumed; got 64." in other.output

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.training.identity.version", lambda package: "another")
        code = command("train", "--resume", stopped, exit_code=2)
    assert f"resume: run {stopped} was started with other code, or another TensorFlow version" in code.output

    (folder_of(stopped, store) / checkpoints.FILE).unlink()
    lost = command("train", "--resume", stopped, exit_code=1)
    assert f"data_dir: the checkpoint of run {stopped} is not in " in lost.output

    unknown = command("train", "--resume", "0" * 32, exit_code=1)
    assert "expected a run of this tracking server" in unknown.output

    with mlflow.start_run() as run:
        pass
    foreign = command("train", "--resume", run.info.run_id, exit_code=1)
    assert "resume: must be a training run of this pipeline" in foreign.output


def test_the_same_command_resumes_a_stopped_run_then_reuses_it_unless_a_new_one_is_asked_for(
    command: Command, uninterrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = stopped_run(command, monkeypatch, "run", *TRAIN, "--seed", 4, epoch=3)

    resumed = command("run", *TRAIN, "--seed", 4).output
    reused = command("run", *TRAIN, "--seed", 4).output
    new = command("run", *TRAIN, "--seed", 4, "--new").output

    assert f"Run {stopped} with the same fingerprint was interrupted: resuming it." in resumed
    assert f"Already trained as run {stopped}; --new trains again." in reused
    assert "epoch" not in reused
    assert [stopped, stopped] == [run_id_in(resumed), run_id_in(reused)] != [stopped, run_id_in(new)]
    assert history(run_id_in(new), "cost") == history(stopped, "cost")
    assert "FINISHED" == mlflow.get_run(stopped).info.status
    check_each_step_stands_once(stopped)


def test_mlflow_run_reuses_a_finished_run_and_puts_the_run_that_it_has_opened_below_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("run", "--dataset", "digits", "--epochs", 1, "--seed", 5)
    finished = run_id_in(command(*small).output)
    project = new_run("clumsy-fish-12")
    monkeypatch.setenv("MLFLOW_RUN_ID", project)

    output = command(*small, "--register", "reused").output

    assert f"Already trained as run {finished}; -P new=true trains again." in output
    assert f"Test accuracy {mlflow.get_run(finished).data.metrics['test_accuracy']:.2%}" in output
    assert finished == run_id_in(output) == MlflowClient().get_model_version_by_alias("reused", "champion").run_id
    MlflowClient().set_terminated(project)  # as `mlflow run` does
    tags = mlflow.get_run(project).data.tags
    assert ("stage", finished) == (tags["kind"], tags["mlflow.parentRunId"])


def test_what_train_has_trained_run_evaluates_in_the_same_run(command: Command, store: Path) -> None:
    trained = run_id_in(command("train", *TRAIN, "--epochs", 2).output)
    assert trained == run_id_in(command("train", *TRAIN, "--epochs", 2).output)
    assert "test_accuracy" not in mlflow.get_run(trained).data.metrics

    assert trained == run_id_in(command("run", *TRAIN, "--epochs", 2).output)

    run = mlflow.get_run(trained)
    assert ("FINISHED", [1, 2]) == (run.info.status, [step for step, _ in history(trained, "cost")])
    assert "test_accuracy" in run.data.metrics
    assert not folder_of(trained, store).exists()


def test_what_died_between_its_last_metric_and_its_end_is_ended(command: Command, uninterrupted: str) -> None:
    MlflowClient().update_run(uninterrupted, status="RUNNING")

    command("run", "--resume", uninterrupted)

    assert "FINISHED" == mlflow.get_run(uninterrupted).info.status
    check_each_step_stands_once(uninterrupted)


@pytest.mark.parametrize("name", ["/etc", "../../precious", "precious"])
def test_a_checkpoint_that_a_store_names_elsewhere_is_never_touched(
    command: Command, stopped: str, store: Path, name: str
) -> None:
    precious = store / "precious"
    precious.mkdir(exist_ok=True)
    (precious / "thesis.txt").write_text("years of work")
    tag = mlflow.get_run(stopped).data.tags["checkpoint"]
    MlflowClient().set_tag(stopped, "checkpoint", str(precious) if name == "precious" else name)

    output = command("train", "--resume", stopped, exit_code=1).output

    assert "checkpoint: the run's tag must be a name of 32 hexadecimal digits" in " ".join(output.split())
    assert "years of work" == (precious / "thesis.txt").read_text()
    MlflowClient().set_tag(stopped, "checkpoint", tag)
