"""The existing run that is reused or resumed, in a real store."""

from pathlib import Path

import pytest

from pipeline.tracking import lifecycle, schema, store
from pipeline.training.checkpoints import LocalCheckpoints, RunLocks
from pipeline.training.resuming import RunState, find_run
from tests.runs import new_run
from tests.unit.training.test_checkpoints import checkpoint

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


def found(data_dir: Path, *, remote: bool = False, evaluate: bool = True) -> tuple[str, RunState] | None:
    existing = find_run("f", data_dir, remote=remote, evaluate=evaluate)
    return (existing.run.run_id, existing.state) if existing else None


def test_a_finished_run_counts_before_a_running_an_interrupted_and_a_pruned_one(tmp_path: Path) -> None:
    assert found(tmp_path) is None
    pruned = made(NAMES[0], {schema.COST: 0.1}, {schema.PRUNED: "true"}, finished=True)
    assert (pruned, RunState.PRUNED) == found(tmp_path)
    interrupted = made(NAMES[1], {schema.COST: 0.1})
    LocalCheckpoints(tmp_path).save(NAMES[1], checkpoint())
    assert (interrupted, RunState.INTERRUPTED) == found(tmp_path)
    running = made(NAMES[2])
    with RunLocks(tmp_path).hold(NAMES[2]):
        assert (running, RunState.RUNNING) == found(tmp_path)
        finished = made(NAMES[3], {**TRAINED, schema.TEST_ACCURACY: 0.9}, finished=True)
        assert (finished, RunState.FINISHED) == found(tmp_path)


def test_a_run_without_evaluation_has_finished_only_if_none_is_requested(tmp_path: Path) -> None:
    trained = made(NAMES[0], TRAINED, finished=True)
    assert (trained, RunState.FINISHED) == found(tmp_path, evaluate=False)
    assert (trained, RunState.INTERRUPTED) == found(tmp_path)


def test_a_run_without_a_usable_checkpoint_is_ignored(tmp_path: Path) -> None:
    made(NAMES[0])  # from another machine, or another data_dir
    made(NAMES[1], {schema.COST: 0.1})
    with RunLocks(tmp_path).hold(NAMES[1]):
        pass
    made(NAMES[2], {schema.COST: 0.1})
    LocalCheckpoints(tmp_path).save(NAMES[2], checkpoint())
    (tmp_path / "checkpoints" / NAMES[2] / "checkpoint.npz").write_bytes(b"half")
    made("/etc")
    assert found(tmp_path) is None


def test_a_run_stopped_before_its_first_epoch_restarts_in_the_same_run(tmp_path: Path) -> None:
    run_id = made(NAMES[0])
    with RunLocks(tmp_path).hold(NAMES[0]):
        pass
    assert (run_id, RunState.INTERRUPTED) == found(tmp_path)


def test_a_finished_comparison_is_not_resumed(tmp_path: Path) -> None:
    made(schema.ON_SERVER, tags={schema.KIND: schema.SEARCHED}, finished=True)
    assert found(tmp_path, remote=True) is None
