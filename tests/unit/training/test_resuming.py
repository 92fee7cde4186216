"""The existing run that is reused or resumed, in a real store."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking import lifecycle, schema, store
from pipeline.training import checkpoints
from pipeline.training.checkpoints import LocalCheckpoint
from pipeline.training.resuming import RunState, find_run
from tests.runs import new_run
from tests.unit.training.test_checkpoints import snapshot

pytestmark = pytest.mark.usefixtures("new_store")

TRAINED = {schema.COST: 0.1, schema.TRAIN_SECONDS: 1.0}
NAMES = [f"{number:032x}" for number in range(9)]


def made(
    name: str, metrics: dict[str, float] | None = None, tags: dict[str, str] | None = None, *, finished: bool = False
) -> str:
    """Return the id of a new run with the fingerprint ``f`` and a checkpoint of this name."""
    run_id = new_run("gru-s1", {schema.FINGERPRINT: "f", schema.CHECKPOINT: name} | (tags or {}))
    store.log_metrics(run_id, metrics or {})
    if finished:
        lifecycle.end(run_id)
    return run_id


def found(data_dir: Path, *, evaluate: bool = True) -> tuple[str | None, RunState]:
    run, state = find_run("f", data_dir, evaluate=evaluate)
    return run.run_id if run else None, state


def test_a_finished_run_counts_before_a_running_an_interrupted_and_a_pruned_one(tmp_path: Path) -> None:
    assert (None, RunState.NEW) == found(tmp_path)
    pruned = made(NAMES[0], {schema.COST: 0.1}, {schema.PRUNED: "true"}, finished=True)
    assert (pruned, RunState.NEW) == found(tmp_path)
    interrupted = made(NAMES[1], {schema.COST: 0.1})
    LocalCheckpoint(checkpoints.folder_of(tmp_path, NAMES[1])).save(snapshot())
    assert (interrupted, RunState.INTERRUPTED) == found(tmp_path)
    running = made(NAMES[2])
    with checkpoints.hold(tmp_path, NAMES[2]):
        assert (running, RunState.RUNNING) == found(tmp_path)
        finished = made(NAMES[3], {**TRAINED, schema.TEST_ACCURACY: 0.9}, finished=True)
        assert (finished, RunState.FINISHED) == found(tmp_path)


@pytest.mark.parametrize(
    ("run", "folder", "evaluate", "state"),
    [
        ({"metrics": TRAINED, "finished": True}, "none", False, RunState.FINISHED),
        ({"metrics": TRAINED, "finished": True}, "none", True, RunState.INTERRUPTED),  # only its evaluation is missing
        ({}, "begun", True, RunState.INTERRUPTED),  # before its first epoch
        ({}, "none", True, None),  # from another machine, or another data_dir
        ({"metrics": {schema.COST: 0.1}}, "begun", True, None),
        ({"metrics": {schema.COST: 0.1}}, "damaged", True, None),
        ({"name": "/etc"}, "none", True, None),
        ({"tags": {schema.KIND: schema.SEARCHED}, "finished": True}, "begun", True, None),
    ],
)
def test_a_run_is_reused_if_it_has_finished_and_resumed_if_its_checkpoint_is_usable(
    tmp_path: Path, run: dict[str, Any], folder: str, *, evaluate: bool, state: RunState | None
) -> None:
    run_id = made(**{"name": NAMES[0], **run})
    if folder != "none":
        with checkpoints.hold(tmp_path, NAMES[0]):
            pass
    if folder == "damaged":
        (tmp_path / "checkpoints" / NAMES[0] / "checkpoint.npz").write_bytes(b"half")
    assert ((run_id, state) if state else (None, RunState.NEW)) == found(tmp_path, evaluate=evaluate)
