"""Checkpoints as files of runs, in a real store."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.epochs import Snapshot
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.stages.housekeeping import clean
from pipeline.tracking import lifecycle, schema, store
from pipeline.training.checkpoints import RemoteCheckpoints
from pipeline.training.resuming import RunState, find_run
from tests.runs import new_run
from tests.unit.training.test_checkpoints import RECORD, checkpoint

STORE = RemoteCheckpoints()
PATHS = [f"checkpoint/{STORE._attempt}-{turn}.npz" for turn in (0, 1)]


@pytest.fixture
def run_id(new_store: Path) -> str:
    """Return the id of a run that was started on a cluster."""
    tags = {schema.KIND: schema.TRAINING, schema.FINGERPRINT: "f", schema.CHECKPOINT: schema.ON_SERVER}
    return new_run("gru-s1", tags)


def after(epochs: int) -> Snapshot:
    return replace(checkpoint(), history=[replace(RECORD, epoch=number + 1) for number in range(epochs)])


def loaded(run_id: str) -> int:
    """Return the number of epochs in the checkpoint of a run."""
    snapshot = STORE.load(run_id)
    return len(snapshot.history) if snapshot else 0


def test_the_last_checkpoint_comes_back_until_it_is_removed(run_id: str) -> None:
    assert 0 == loaded(run_id)
    for epochs in (1, 2, 3):
        STORE.save(run_id, after(epochs))
    assert 3 == loaded(run_id)
    assert [PATHS[0], PATHS[1]] == [each.path for each in MlflowClient().list_artifacts(run_id, "checkpoint")]
    STORE.remove(run_id)
    assert 0 == loaded(run_id)


def test_if_a_file_is_incomplete_the_one_before_is_loaded(run_id: str) -> None:
    STORE.save(run_id, after(1))
    STORE.save(run_id, after(2))
    content = Path(MlflowClient().download_artifacts(run_id, PATHS[0])).read_bytes()
    store.write_file(run_id, PATHS[0], content[:-100])
    assert 1 == loaded(run_id)
    store.write_file(run_id, PATHS[1], b"")
    with pytest.raises(DataError, match=r"^run .*: all files in its folder checkpoint are damaged"):
        STORE.load(run_id)


def test_a_checkpoint_of_a_finished_run_is_cleaned(run_id: str, tmp_path: Path) -> None:
    STORE.save(run_id, after(1))
    lifecycle.end(run_id)

    assert f"checkpoint {run_id} of gru-s1" in clean(Reporter(), data_dir=tmp_path, dry_run=False)
    assert [] == MlflowClient().list_artifacts(run_id, "checkpoint")
    assert [] == clean(Reporter(), data_dir=tmp_path, dry_run=False)


def test_only_a_cluster_resumes_what_a_cluster_has_started_by_itself(run_id: str, tmp_path: Path) -> None:
    """From elsewhere nobody can tell whether its process is alive."""
    STORE.save(run_id, after(1))
    here, there = find_run("f", tmp_path), find_run("f", tmp_path, remote=True)

    assert here is None
    assert there is not None
    assert (run_id, RunState.INTERRUPTED) == (there.run.run_id, there.state)


def test_an_attempt_that_was_given_up_and_lives_overwrites_nothing(run_id: str) -> None:
    STORE.save(run_id, after(2))
    RemoteCheckpoints().save(run_id, after(4))
    STORE.save(run_id, after(3))

    assert 4 == loaded(run_id)
