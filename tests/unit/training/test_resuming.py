"""A checkpoint is loaded whole or not at all; one process works on a run; existing runs are reused or resumed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.epochs import EpochRecord, Snapshot
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.stages.housekeeping import clean
from pipeline.tracking import lifecycle, schema, store
from pipeline.training import resuming
from pipeline.training.resuming import LocalCheckpoint, LockedError, RemoteCheckpoint, RunState, find_run
from tests.runs import new_run

RECORD = EpochRecord(
    epoch=1,
    cost=0.1 + 0.2,  # 0.30000000000000004, which must not be rounded as text
    accuracy=0.9,
    val_cost=1 / 3,
    val_accuracy=0.8,
    learning_rate=0.001,
    epoch_seconds=1.5,
    samples_per_second=100.0,
)
NAME = "0123456789abcdef" * 2


def snapshot(value: float = 1.0, arrays: int = 2, epochs: int = 1) -> Snapshot:
    history = [replace(RECORD, epoch=number + 1) for number in range(epochs)]
    state: list[NDArray[Any]] = [
        np.full((2, 3), value, np.float32),
        *(np.array(number, np.int64) for number in range(1, arrays)),
    ]
    return Snapshot(history=history, state=state, best_weights=[np.full(3, value, np.float32)], seconds=12.5)


def content(snapshot: Snapshot | None) -> tuple[object, ...]:
    assert snapshot is not None
    arrays = [*snapshot.state, *snapshot.best_weights]
    return snapshot.history, snapshot.seconds, [(array.dtype, array.tolist()) for array in arrays]


@pytest.mark.parametrize("arrays", [2, 120])
def test_a_checkpoint_comes_back_unchanged_and_in_order(tmp_path: Path, arrays: int) -> None:
    checkpoint = LocalCheckpoint(tmp_path / "new")
    assert checkpoint.load() is None
    checkpoint.save(snapshot(arrays=arrays))
    assert content(snapshot(arrays=arrays)) == content(checkpoint.load())


def test_a_checkpoint_is_replaced_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = LocalCheckpoint(tmp_path)
    for value in (1, 2):
        checkpoint.save(snapshot(value))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"^data_dir: the checkpoint .* cannot be written: No space left .* Free some"):
        checkpoint.save(snapshot(3))
    assert content(snapshot(2)) == content(checkpoint.load())
    assert [tmp_path / resuming.FILE] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "..", "../..", "/etc", "abc", NAME + "/..", NAME.upper(), f"{NAME}\n"])
def test_no_path_is_made_of_a_name_from_elsewhere(tmp_path: Path, name: str) -> None:
    """The name comes from a tag of a run, which other users can write."""
    for function in (resuming.folder_of, resuming.is_held, resuming.hold):
        with pytest.raises(DataError, match="checkpoint: the run's tag must be a name of 32 hexadecimal digits; got"):
            function(tmp_path, name)
    assert [] == list(tmp_path.iterdir())


# --- checkpoints that are artifacts, in a real store ----------------------------------------------------------------


@pytest.fixture
def remote(new_store: Path) -> RemoteCheckpoint:
    """Return the checkpoint of a run that was started on a cluster."""
    tags = {schema.KIND: schema.TRAINING, schema.FINGERPRINT: "f", schema.CHECKPOINT: schema.ON_SERVER}
    return RemoteCheckpoint(new_run("gru-s1", tags), "attempt")


def loaded(checkpoint: RemoteCheckpoint) -> int:
    """Return the number of epochs in a checkpoint."""
    found = checkpoint.load()
    return len(found.history) if found else 0


def test_the_last_checkpoint_is_loaded_while_an_old_attempt_still_writes(remote: RemoteCheckpoint) -> None:
    assert 0 == loaded(remote)
    for epochs in (1, 2, 3):
        remote.save(snapshot(epochs=epochs))
    assert (3, 2) == (loaded(remote), len(store.files_in(remote.run_id, "checkpoint")))
    RemoteCheckpoint(remote.run_id).save(snapshot(epochs=5))
    remote.save(snapshot(epochs=4))  # by a process that still runs after its node was given up
    assert 5 == loaded(remote)
    remote.remove()
    assert 0 == loaded(remote)


def test_if_a_file_is_incomplete_the_one_before_is_loaded(remote: RemoteCheckpoint) -> None:
    for epochs in (1, 2):
        remote.save(snapshot(epochs=epochs))
    second, _ = store.read_files(remote.run_id, "checkpoint")
    flipped = bytes([second[500] ^ 1])
    for damaged in (b"", b"PK", b"\x93NUMPY", second[:-100], second[:500] + flipped + second[501:]):
        store.write_files(remote.run_id, {"checkpoint/attempt-0.npz": damaged})
        assert 1 == loaded(remote)


def test_a_checkpoint_is_resumed_by_a_cluster_alone_and_cleaned_when_its_run_has_finished(
    remote: RemoteCheckpoint, tmp_path: Path
) -> None:
    """On another machine, the state of its process is unknown."""
    remote.save(snapshot())
    there, state = find_run("f", tmp_path, remote=True)
    assert (None, RunState.NEW) == find_run("f", tmp_path)
    assert there is not None
    assert (remote.run_id, RunState.INTERRUPTED) == (there.run_id, state)

    lifecycle.end(remote.run_id)
    assert [f"checkpoint {remote.run_id} of gru-s1"] == clean(Reporter(), data_dir=tmp_path, dry_run=False)
    assert (0, []) == (loaded(remote), clean(Reporter(), data_dir=tmp_path, dry_run=False))


# --- locks ----------------------------------------------------------------------------------------------------------


def test_a_lock_in_a_folder_that_cannot_be_made_names_the_parameter(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(DataError, match=r"^data_dir: must be a folder that can be written to; .*checkpoints"):
        resuming.hold(tmp_path, NAME)


def test_a_killed_process_holds_no_lock_and_a_query_creates_none(tmp_path: Path) -> None:
    assert not resuming.is_held(tmp_path, NAME)
    assert [] == list(tmp_path.iterdir())
    code = (
        "import sys; from pathlib import Path; from pipeline.training import resuming\n"
        f"with resuming.hold(Path({str(tmp_path)!r}), {NAME!r}): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        assert resuming.is_held(tmp_path, NAME)
        with pytest.raises(LockedError, match=f"another process is training this one, in .*{NAME}"):
            resuming.hold(tmp_path, NAME)
        process.kill()
        process.wait()

    assert ([NAME], False) == (resuming.checkpoint_names(tmp_path), resuming.is_held(tmp_path, NAME))


# --- existing runs, in a real store ---------------------------------------------------------------------------------

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


@pytest.mark.usefixtures("new_store")
def test_a_finished_run_counts_before_a_running_an_interrupted_and_a_pruned_one(tmp_path: Path) -> None:
    assert (None, RunState.NEW) == found(tmp_path)
    pruned = made(NAMES[0], {schema.COST: 0.1}, {schema.PRUNED: "true"}, finished=True)
    assert (pruned, RunState.NEW) == found(tmp_path)
    interrupted = made(NAMES[1], {schema.COST: 0.1})
    LocalCheckpoint(resuming.folder_of(tmp_path, NAMES[1])).save(snapshot())
    assert (interrupted, RunState.INTERRUPTED) == found(tmp_path)
    running = made(NAMES[2])
    with resuming.hold(tmp_path, NAMES[2]):
        assert (running, RunState.RUNNING) == found(tmp_path)
        finished = made(NAMES[3], {**TRAINED, schema.TEST_ACCURACY: 0.9}, finished=True)
        assert (finished, RunState.FINISHED) == found(tmp_path)


@pytest.mark.usefixtures("new_store")
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
        with resuming.hold(tmp_path, NAMES[0]):
            pass
    if folder == "damaged":
        (tmp_path / "checkpoints" / NAMES[0] / "checkpoint.npz").write_bytes(b"half")
    assert ((run_id, state) if state else (None, RunState.NEW)) == found(tmp_path, evaluate=evaluate)
