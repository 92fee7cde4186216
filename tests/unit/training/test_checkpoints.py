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
from pipeline.training.checkpoints import LocalCheckpoint, LockedError

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


def snapshot(value: float = 1.0, arrays: int = 2) -> Snapshot:
    state: list[NDArray[Any]] = [
        np.full((2, 3), value, np.float32),
        *(np.array(number, np.int64) for number in range(1, arrays)),
    ]
    return Snapshot(history=[RECORD], state=state, best_weights=[np.full(3, value, np.float32)], seconds=12.5)


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
    assert [tmp_path / checkpoints.FILE] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "..", "../..", "/etc", "abc", NAME + "/..", NAME.upper(), f"{NAME}\n"])
def test_no_path_is_made_of_a_name_from_elsewhere(tmp_path: Path, name: str) -> None:
    """The name comes from a tag of a run, which other users can write."""
    for function in (checkpoints.folder_of, checkpoints.is_held, checkpoints.hold):
        with pytest.raises(DataError, match="checkpoint: the run's tag must be a name of 32 hexadecimal digits; got"):
            function(tmp_path, name)
    assert [] == list(tmp_path.iterdir())


# --- locks ----------------------------------------------------------------------------------------------------------


def test_a_killed_process_holds_no_lock_and_a_query_creates_none(tmp_path: Path) -> None:
    assert not checkpoints.is_held(tmp_path, NAME)
    assert [] == list(tmp_path.iterdir())
    code = (
        "import sys; from pathlib import Path; from pipeline.training import checkpoints\n"
        f"with checkpoints.hold(Path({str(tmp_path)!r}), {NAME!r}): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        assert checkpoints.is_held(tmp_path, NAME)
        with pytest.raises(LockedError, match=f"another process is training this one, in .*{NAME}"):
            checkpoints.hold(tmp_path, NAME)
        process.kill()
        process.wait()

    assert ([NAME], False) == (checkpoints.names(tmp_path), checkpoints.is_held(tmp_path, NAME))
