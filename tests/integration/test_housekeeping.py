"""`runs`, `compare --dry-run`, `clean` and `doctor` on real runs, killed ones among them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.training.checkpoints import LocalCheckpoints, RunLocks
from tests.integration.conftest import Command, environment, run_id_in
from tests.integration.test_compare import wait_for_checkpoints

SMALL = ("--dataset", "digits", "--hidden-units", "12", "--shards", "2")
ENDLESS = ("run", *SMALL, "--epochs", "100000", "--cell", "rnn", "--seed", "77")


@pytest.fixture(scope="module")
def data(store: Path) -> Path:
    return store / "housekept"


@pytest.fixture(scope="module")
def trained(command: Command, data: Path) -> str:
    """Return the id of a training that has ended; its parameters came from a file."""
    config = data.with_name("experiment.yaml")
    config.write_text("epochs: 4\nlearning-rate: 1e-2\nseed: 3  # typed over\n")
    return run_id_in(command("run", *SMALL, "--config", config, "--seed", 1, "--data-dir", data).output)


@pytest.fixture(scope="module")
def left(trained: str, data: Path) -> str:
    """Return the id of a run whose process was killed."""
    arguments = [sys.executable, "-m", "pipeline", *ENDLESS, "--data-dir", str(data)]
    process = subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for_checkpoints(process, data, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = mlflow.search_runs(output_format="list", max_results=1)
    return str(run.info.run_id)


def rows(command: Command, data: Path, *options: object) -> dict[str, dict[str, Any]]:
    output = command("runs", "--json", "--quiet", "--data-dir", data, *options).stdout
    return {row["run_id"]: row for row in json.loads(output)}


def test_a_run_keeps_the_file_that_its_parameters_came_from(trained: str) -> None:
    run = mlflow.get_run(trained)

    kept = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/configuration.yaml")
    assert "epochs: 4\nlearning-rate: 1e-2\nseed: 3  # typed over\n" == kept
    assert ("4", "0.01", "1") == tuple(run.data.params[name] for name in ("epochs", "learning_rate", "seed"))


def test_the_last_trainings_are_listed_with_what_became_of_them(
    command: Command, trained: str, left: str, data: Path
) -> None:
    listed = rows(command, data, "--limit", 2)

    metrics = mlflow.get_run(trained).data.metrics
    assert {
        "run_id": trained,
        "name": "gru-digits-units=12-lr=0.01-epochs=4-s1",
        "cell": "gru",
        "data": "digits",
        "val_accuracy": metrics["best_val_accuracy"],
        "test_accuracy": metrics["test_accuracy"],
        "seconds": metrics["train_seconds"],
        "state": "finished",
    }.items() <= listed[trained].items()
    assert ("rnn-digits-units=12-epochs=100000-s77", "interrupted", None) == tuple(
        listed[left][name] for name in ("name", "state", "test_accuracy")
    )
    differing = listed[trained]["parameters"]
    assert ("gru", "1", "0.01") == tuple(differing[name] for name in ("cell", "seed", "learning_rate"))
    assert {"hidden_units", "shards"}.isdisjoint(differing)  # they are the same in both
    assert [left] == list(rows(command, data, "--limit", 1))
    table = command("runs", "--data-dir", data).output
    assert re.search(r"^run +name +data .*cell .*val accuracy % +test accuracy % +train s +state", table, re.MULTILINE)
    assert re.search(rf"^{left} +rnn-\S*s77 +digits +rnn .* interrupted ", table, re.MULTILINE)


def test_no_store_is_made_where_there_is_none(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")

    nowhere = ("--data-dir", tmp_path)
    assert "No runs yet." in command("runs", *nowhere).output
    assert "[]\n" == command("runs", "--json", *nowhere).stdout
    assert "There is nothing to clean." in command("clean", *nowhere).output
    assert "not there yet" in command("doctor", *nowhere).output
    assert "6 trainings" in command("compare", "--cells", "rnn,gru", "--dry-run", *nowhere).output
    assert [] == list(tmp_path.iterdir())


# --- what there is to do --------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_is_reused_or_resumed_and_about_how_long_the_rest_takes(
    command: Command, trained: str, left: str, data: Path
) -> None:
    before = len(mlflow.search_runs(output_format="list"))

    arguments = ("--cells", "gru,lstm", "--seeds", "1-2", "--epochs", 4, "--learning-rate", "0.01", "--workers", 2)
    output = command("compare", *SMALL, *arguments, "--data-dir", data, "--dry-run").output

    states = dict(re.findall(r"^(\S+-s\d) +(reused|new)", output, re.MULTILINE))
    assert {
        "gru-digits-units=12-lr=0.01-epochs=4-s1": "reused",
        "gru-digits-units=12-lr=0.01-epochs=4-s2": "new",
        "lstm-digits-units=12-lr=0.01-epochs=4-s1": "new",
        "lstm-digits-units=12-lr=0.01-epochs=4-s2": "new",
    } == states
    assert "4 trainings, 2 at a time: 1 reused, 3 new. About " in output
    assert "without 2 of them: no comparable run has finished on this machine yet." in output
    assert before == len(mlflow.search_runs(output_format="list"))
    endless = ("--cells", "rnn", "--seeds", "77", "--epochs", 100_000)
    assert "1 resumed" in command("compare", *SMALL, *endless, "--data-dir", data, "--dry-run").output


# --- what may go ----------------------------------------------------------------------------------------------------


def checkpoint_of(run_id: str) -> str:
    return str(mlflow.get_run(run_id).data.tags["checkpoint"])


def test_a_run_that_no_process_works_on_is_ended(command: Command, left: str, data: Path) -> None:
    named = f"clean run {left} (rnn-digits-units=12-epochs=100000-s77), to KILLED"
    with RunLocks(data).hold(checkpoint_of(left)):
        assert left not in command("clean", "--data-dir", data).output
    assert f"Would {named}" in command("clean", "--dry-run", "--data-dir", data).output
    assert "RUNNING" == mlflow.get_run(left).info.status

    assert named.replace("clean", "Cleaned") in command("clean", "--data-dir", data).output

    run = mlflow.get_run(left)
    assert "KILLED" == run.info.status
    assert "`pipeline clean` ended the run" in run.data.tags["error"]
    assert checkpoint_of(left) in LocalCheckpoints(data).names()


def test_checkpoints_go_when_no_run_needs_them(command: Command, trained: str, left: str, data: Path) -> None:
    place = LocalCheckpoints(data)
    needed = checkpoint_of(left)
    foreign, ended = "f" * 32, checkpoint_of(trained)  # of another store; of a run that was killed as it ended
    for name in (foreign, ended):
        (data / "checkpoints" / name).mkdir()
    (data / "checkpoints" / "my notes").mkdir()

    output = command("clean", "--data-dir", data).output

    assert f"Cleaned checkpoint {ended} of gru-digits-units=12-lr=0.01-epochs=4-s1: its run has finished" in output
    assert "this store does not have their runs, but another one may" in output
    assert {needed, foreign} <= set(place.names())
    assert ended not in place.names()
    assert (data / "checkpoints" / "my notes").is_dir()

    MlflowClient().delete_run(left)
    with RunLocks(data).hold(needed):
        assert needed not in command("clean", "--data-dir", data).output
    assert (
        f"Cleaned checkpoint {needed} of rnn-digits-units=12-epochs=100000-s77: its run was deleted"
        in command("clean", "--data-dir", data).output
    )
    assert needed not in place.names()
    MlflowClient().restore_run(left)


def test_processed_data_of_other_code_goes_when_no_run_is_training(
    command: Command, trained: str, data: Path, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("checkpoints")))
    (manifest,) = (here / "processed").glob("digits-*/manifest.json")
    assert "nothing to clean" in command("clean", "--data-dir", here).output
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"code": "0" * 64}))

    with RunLocks(here).hold("a" * 32):
        assert "Processed data stays: a run is training." in command("clean", "--data-dir", here).output
    assert manifest.exists()
    output = command("clean", "--data-dir", here).output

    assert f"Cleaned {manifest.parent}: another version of the code made it" in output
    assert not manifest.exists()


def test_the_doctor_shows_what_lies_where_and_who_answers(
    command: Command, trained: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(command("doctor", "--json", "--data-dir", data).stdout)

    assert mlflow.__version__ == found["sections"]["Installed"]["mlflow"]
    assert str(data.resolve()) in found["sections"]["Data"]["folder"]
    assert os.environ["MLFLOW_TRACKING_URI"] == found["sections"]["Tracking"]["store"]
    assert found["sections"]["Tracking"]["answers"].startswith("yes, in ")
    assert [] == found["problems"]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    result = command("doctor", "--data-dir", data, exit_code=1)
    assert re.search(r"answers +no$", result.stdout, re.MULTILINE)
    assert "No answer from the tracking server" in result.stderr
    assert "secret" not in result.output
