"""A checkpoint is loaded completely or not at all; at most one process of a machine works on a run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.epochs import EpochRecord, Snapshot
from pipeline.errors import DataError
from pipeline.training import checkpoints
from pipeline.training.checkpoints import LocalCheckpoints, LockedError, RunLocks

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


def checkpoint(value: float = 1.0, arrays: int = 2) -> Snapshot:
    state: list[NDArray[Any]] = [
        np.full((2, 3), value, np.float32),
        *(np.array(number, np.int64) for number in range(1, arrays)),
    ]
    return Snapshot(history=[RECORD], state=state, best_weights=[np.full(3, value, np.float32)], seconds=12.5)


@pytest.fixture
def store(tmp_path: Path) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of the checkpoint."""
    return tmp_path / "checkpoints" / NAME / checkpoints.FILE


def content(snapshot: Snapshot | None) -> tuple[object, ...]:
    assert snapshot is not None
    arrays = [*snapshot.state, *snapshot.best_weights]
    return snapshot.history, snapshot.seconds, [(array.dtype, array.tolist()) for array in arrays]


@pytest.mark.parametrize("arrays", [2, 120])
def test_a_checkpoint_comes_back_unchanged_and_in_order(store: LocalCheckpoints, arrays: int) -> None:
    assert store.load(NAME) is None
    store.save(NAME, checkpoint(arrays=arrays))
    assert content(checkpoint(arrays=arrays)) == content(store.load(NAME))


def test_a_checkpoint_is_replaced_completely_or_not_at_all(
    store: LocalCheckpoints, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1, 2):
        store.save(NAME, checkpoint(value))
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"PK half of it"))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"^data_dir: the checkpoint .* cannot be written: No space left .* free some"):
        store.save(NAME, checkpoint(3))
    assert content(checkpoint(2)) == content(store.load(NAME))
    assert [file] == list(file.parent.iterdir())


@pytest.mark.parametrize("damaged", [b"", b"PK", b"\x93NUMPY"])
def test_a_damaged_checkpoint_is_named(store: LocalCheckpoints, file: Path, damaged: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"checkpoint.npz: the checkpoint is damaged: .* Remove its folder"):
        store.load(NAME)


@pytest.mark.parametrize("name", ["", "..", "../..", "/etc", "abc", NAME + "/..", NAME.upper(), f"{NAME}\n"])
def test_no_path_is_made_of_a_name_from_elsewhere(tmp_path: Path, name: str) -> None:
    """The name comes from a tag of a run, which other users can write."""
    store, locks = LocalCheckpoints(tmp_path), RunLocks(tmp_path)
    for method in (store.remove, store.load, locks.exists, locks.is_held, lambda name: locks.hold(name).__enter__()):
        with pytest.raises(DataError, match="checkpoint: the run's tag must be a name of 32 hexadecimal digits; got"):
            method(name)
    assert [] == list(tmp_path.iterdir())


# --- locks ----------------------------------------------------------------------------------------------------------


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.training.checkpoints import RunLocks\n"
        f"with RunLocks(Path({str(tmp_path)!r})).hold({NAME!r}): print('held', flush=True); sys.stdin.read()"
    )
    locks = RunLocks(tmp_path)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        assert locks.is_held(NAME)
        with pytest.raises(LockedError, match=f"another process is training this one, in .*{NAME}"), locks.hold(NAME):
            pass
        process.kill()
        process.wait()

    assert (True, False) == (locks.exists(NAME), locks.is_held(NAME))


def test_a_query_creates_no_lock_and_a_lock_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    locks = RunLocks(tmp_path)
    assert (False, False) == (locks.exists(NAME), locks.is_held(NAME))
    assert [] == list(tmp_path.iterdir())
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(DataError, match="data_dir: must be a folder that can be written to; got"), locks.hold(NAME):
        pass
