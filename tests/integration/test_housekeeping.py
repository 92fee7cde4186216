"""`runs`, `compare --dry-run`, `clean` and `doctor` on real runs, one of them interrupted."""

import json
import os
import re
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.training import resuming
from tests.integration.conftest import Command, run_count, run_id_in, stopped_run

SMALL = ("--dataset", "digits", "--hidden-units", "12", "--shards", "2")
DATA = Path("housekept")
ENDLESS = ("run", *SMALL, "--epochs", "100000", "--cell", "rnn", "--seed", "77")
CONFIGURATION = "epochs: 4\nlearning-rate: 1e-2\nseed: 3  # typed over\n"
FINISHED, LEFT = "gru-digits-units=12-lr=0.01-epochs=4-s1", "rnn-digits-units=12-epochs=100000-s77"


@pytest.fixture(scope="module")
def trained(command: Command) -> str:
    """Return the id of a finished run with parameters from a file."""
    config = DATA.with_name("experiment.yaml")
    config.write_text(CONFIGURATION)
    return run_id_in(command("run", *SMALL, "--config", config, "--seed", 1, "--data-dir", DATA).output)


@pytest.fixture(scope="module")
def left(command: Command, trained: str) -> str:
    """Return the id of a run that is still RUNNING, as if its process had been killed."""
    run_id = stopped_run(command, *ENDLESS, "--data-dir", DATA, epoch=2)
    MlflowClient().update_run(run_id, status="RUNNING")
    MlflowClient().delete_tag(run_id, "error")
    return run_id


def test_the_last_trainings_are_listed_with_their_results_states_and_different_parameters(
    command: Command, trained: str, left: str
) -> None:
    listing = ("runs", "--data-dir", DATA)
    newest, finished = json.loads(command(*listing, "--json", "--limit", 2).stdout)

    metrics = mlflow.get_run(trained).data.metrics
    assert {
        "run_id": trained,
        "name": FINISHED,
        "cell": "gru",
        "data": "digits",
        "val_accuracy": metrics["best_val_accuracy"],
        "test_accuracy": metrics["test_accuracy"],
        "seconds": metrics["train_seconds"],
        "state": "finished",
    }.items() <= finished.items()
    assert {"run_id": left, "name": LEFT, "state": "interrupted", "test_accuracy": None}.items() <= newest.items()
    assert {"cell": "gru", "seed": "1", "epochs": "4", "learning_rate": "0.01"}.items() <= finished[
        "parameters"
    ].items()
    assert {"hidden_units", "shards"}.isdisjoint(finished["parameters"])  # because both runs have the same values
    assert CONFIGURATION == mlflow.artifacts.load_text(f"runs:/{trained}/configuration.yaml")
    table = command(*listing).output
    assert re.search(r"^run +name +data .*cell .*val accuracy % +test accuracy % +train s +state", table, re.MULTILINE)
    assert re.search(rf"^{left} +rnn-\S*s77 +digits .*rnn .* interrupted ", table, re.MULTILINE)


def test_no_store_is_made_where_there_is_none(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")

    for words, said in (
        (["runs"], "No runs yet."),
        (["runs", "--json"], "[]\n"),
        (["clean"], "There is nothing to clean."),
        (["doctor"], "not there yet"),
        (["compare", "--cells", "rnn,gru", "--dry-run"], "6 runs: 6 unknown."),
    ):
        assert said in command(*words, "--data-dir", tmp_path).output
    assert [] == list(tmp_path.iterdir())


def test_a_dry_run_lists_what_is_reused_or_resumed(command: Command, trained: str, left: str) -> None:
    before = run_count()

    arguments = ("--cells", "gru,lstm", "--seeds", "1-2", "--epochs", 4, "--learning-rate", "0.01")
    output = command("compare", *SMALL, *arguments, "--data-dir", DATA, "--dry-run").output

    found = re.findall(r"^(\w+)-digits-\S+-(s\d) +(reused|new)", output, re.MULTILINE)
    assert [("gru", "s1", "reused"), ("gru", "s2", "new"), ("lstm", "s1", "new"), ("lstm", "s2", "new")] == found
    assert "4 runs: 1 reused, 3 new." in output
    assert before == run_count()
    endless = ("--cells", "rnn", "--seeds", "77", "--epochs", 100_000)
    assert "1 resumed" in command("compare", *SMALL, *endless, "--data-dir", DATA, "--dry-run").output


def checkpoint_of(run_id: str) -> str:
    return str(mlflow.get_run(run_id).data.tags["checkpoint"])


def test_a_run_that_no_process_works_on_is_ended(command: Command, left: str) -> None:
    named = f"clean run {left} ({LEFT}), to KILLED"
    with resuming.hold(DATA, checkpoint_of(left)):
        assert left not in command("clean", "--data-dir", DATA).output
    assert f"Would {named}" in command("clean", "--dry-run", "--data-dir", DATA).output
    assert "RUNNING" == mlflow.get_run(left).info.status

    assert named.replace("clean", "Cleaned") in command("clean", "--data-dir", DATA).output

    run = mlflow.get_run(left)
    assert "KILLED" == run.info.status
    assert "`pipeline clean` ended the run" in run.data.tags["error"]
    assert checkpoint_of(left) in resuming.checkpoint_names(DATA)


def test_checkpoints_go_when_no_run_needs_them(command: Command, trained: str, left: str) -> None:
    needed, foreign, ended = checkpoint_of(left), "f" * 32, checkpoint_of(trained)
    for name in (foreign, ended, "my notes"):  # from another store, a run killed at its end, the user
        (DATA / "checkpoints" / name).mkdir()

    output = command("clean", "--data-dir", DATA).output

    assert f"Cleaned checkpoint {ended} of {FINISHED}: its run has finished" in output
    assert "Checkpoints kept, because their runs are not in this store but may be in another: 1." in output
    assert {needed, foreign, "my notes"} <= {path.name for path in (DATA / "checkpoints").iterdir()}
    assert ended not in resuming.checkpoint_names(DATA)

    MlflowClient().delete_run(left)
    with resuming.hold(DATA, needed):
        assert needed not in command("clean", "--data-dir", DATA).output
    output = command("clean", "--data-dir", DATA).output
    assert f"Cleaned checkpoint {needed} of {LEFT}: its run was deleted" in output
    assert needed not in resuming.checkpoint_names(DATA)
    MlflowClient().restore_run(left)


def test_processed_data_of_other_code_goes_when_no_run_is_training(
    command: Command, trained: str, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(DATA, tmp_path / "data", ignore=shutil.ignore_patterns("checkpoints")))
    (manifest,) = (here / "processed").glob("digits-*/manifest.json")
    assert "nothing to clean" in command("clean", "--data-dir", here).output
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"code": "0" * 64}))

    with resuming.hold(here, "a" * 32):
        assert "Kept the processed data: a run is in progress." in command("clean", "--data-dir", here).output
    assert manifest.exists()
    output = command("clean", "--data-dir", here).output

    assert f"Cleaned {manifest.parent}: another version of the code made it" in output
    assert not manifest.exists()


def test_the_doctor_shows_versions_folders_and_the_tracking_server(
    command: Command, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(command("doctor", "--json", "--data-dir", DATA).stdout)

    assert mlflow.__version__ == found["sections"]["Installed"]["mlflow"]
    assert str(DATA.resolve()) in found["sections"]["Data"]["folder"]
    assert os.environ["MLFLOW_TRACKING_URI"] == found["sections"]["Tracking"]["store"]
    assert "yes" == found["sections"]["Tracking"]["answers"]
    assert [] == found["problems"]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    result = command("doctor", "--data-dir", DATA, exit_code=1)
    assert re.search(r"answers +no$", result.stdout, re.MULTILINE)
    assert "No answer from the tracking server" in result.stderr
    assert "secret" not in result.output
