"""Checkpoints that are artifacts of runs, in a real store."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.epochs import Snapshot
from pipeline.progress import Reporter
from pipeline.stages.housekeeping import clean
from pipeline.tracking import lifecycle, schema, store
from pipeline.training.checkpoints import RemoteCheckpoint
from pipeline.training.resuming import RunState, find_run
from tests.runs import new_run
from tests.unit.training.test_checkpoints import RECORD, snapshot

PATHS = [f"checkpoint/attempt-{turn}.npz" for turn in (0, 1)]


@pytest.fixture
def run_id(new_store: Path) -> str:
    """Return the id of a run that was started on a cluster."""
    tags = {schema.KIND: schema.TRAINING, schema.FINGERPRINT: "f", schema.CHECKPOINT: schema.ON_SERVER}
    return new_run("gru-s1", tags)


def after(epochs: int) -> Snapshot:
    return replace(snapshot(), history=[replace(RECORD, epoch=number + 1) for number in range(epochs)])


def loaded(run_id: str) -> int:
    """Return the number of epochs in the checkpoint of a run."""
    found = RemoteCheckpoint(run_id).load()
    return len(found.history) if found else 0


def files(run_id: str) -> list[str]:
    return [*store.files_in(run_id, "checkpoint")]


def test_the_last_checkpoint_is_loaded_while_an_old_attempt_still_writes(run_id: str) -> None:
    assert 0 == loaded(run_id)
    checkpoint = RemoteCheckpoint(run_id, "attempt")
    for epochs in (1, 2, 3):
        checkpoint.save(after(epochs))
    assert (3, PATHS) == (loaded(run_id), files(run_id))
    RemoteCheckpoint(run_id).save(after(5))
    checkpoint.save(after(4))  # by a process that still runs after its node was given up
    assert 5 == loaded(run_id)
    checkpoint.remove()
    assert 0 == loaded(run_id)


def test_if_a_file_is_incomplete_the_one_before_is_loaded(run_id: str) -> None:
    for epochs in (1, 2):
        RemoteCheckpoint(run_id, "attempt").save(after(epochs))
    content, _ = store.read_files(run_id, "checkpoint")
    flipped = bytes([content[500] ^ 1])
    for damaged in (b"", b"PK", b"\x93NUMPY", content[:-100], content[:500] + flipped + content[501:]):
        store.write_files(run_id, {PATHS[0]: damaged})
        assert 1 == loaded(run_id)


def test_a_checkpoint_is_resumed_by_a_cluster_alone_and_cleaned_when_its_run_has_finished(
    run_id: str, tmp_path: Path
) -> None:
    """On another machine, the state of its process is unknown."""
    RemoteCheckpoint(run_id).save(after(1))
    there, state = find_run("f", tmp_path, remote=True)
    assert (None, RunState.NEW) == find_run("f", tmp_path)
    assert there is not None
    assert (run_id, RunState.INTERRUPTED) == (there.run_id, state)

    lifecycle.end(run_id)
    assert [f"checkpoint {run_id} of gru-s1"] == clean(Reporter(), data_dir=tmp_path, dry_run=False)
    assert ([], []) == (files(run_id), clean(Reporter(), data_dir=tmp_path, dry_run=False))
