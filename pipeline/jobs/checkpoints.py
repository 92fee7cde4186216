"""Where a training stands, kept so that it can go on after it was cut off; removed when it has ended.

    <data_dir>/checkpoints/<name>/
        checkpoint.npz    after the last finished epoch
        .lock             held by the process that is at the training; the system frees it however that process ends

A training is cut off if it has such a folder and nobody holds its lock.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pipeline.errors import DataError, UsageError
from pipeline.records import EpochRecord

FILE = "checkpoint.npz"
LOCK = ".lock"

Numbers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training after an epoch.

    Attributes:
        history: a record per finished epoch.
        state: of the trainer: weights, and what the optimizer remembers.
        best_weights: those of the epoch that would be kept if this were the last.
        seconds: wall time of the training so far.
    """

    history: list[EpochRecord]
    state: Sequence[Numbers]
    best_weights: Sequence[Numbers]
    seconds: float


def folder_of(data_dir: Path, name: str) -> Path:
    """Return the folder of the checkpoint of that name."""
    return data_dir / "checkpoints" / name


@contextmanager
def held(data_dir: Path, name: str) -> Iterator[Path]:
    """Make the folder of a checkpoint, hold it against other processes, and yield it.

    Raises:
        DataError: the folder cannot be made.
        UsageError: another process holds it.
    """
    folder = folder_of(data_dir, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"resume: expected a run that was cut off, but another process is at it, in {folder}."
        ) from None
    except OSError as error:
        raise DataError(f"data_dir: expected a folder to write to, received {data_dir}: {error.strerror}.") from None
    try:
        yield folder
    finally:
        lock.release()


def is_held(data_dir: Path, name: str) -> bool:
    """Return whether a process is at the training whose checkpoint has that name."""
    lock = FileLock(folder_of(data_dir, name) / LOCK)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before; whenever the machine stops, one of the two is whole."""
    log = {"history": [asdict(record) for record in checkpoint.history], "seconds": checkpoint.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(checkpoint.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(checkpoint.best_weights)}
    incoming = folder / f".incoming-{FILE}"
    with incoming.open("wb") as file:
        np.savez(file, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    incoming.replace(folder / FILE)


def load(folder: Path) -> Checkpoint | None:
    """Return the checkpoint in a folder; None if no epoch was finished.

    Raises:
        DataError: its file is damaged.
    """
    try:
        with np.load(folder / FILE) as arrays:
            log = json.loads(arrays["log"].tobytes())
            return Checkpoint(
                history=[EpochRecord(**record) for record in log["history"]],
                state=[arrays[name] for name in sorted(arrays) if name.startswith("state_")],
                best_weights=[arrays[name] for name in sorted(arrays) if name.startswith("weight_")],
                seconds=log["seconds"],
            )
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{folder / FILE}: expected a whole checkpoint, received: {error}. Remove the folder to train anew."
        ) from None


def remove(folder: Path) -> None:
    """Remove a checkpoint and its folder: its training has ended."""
    shutil.rmtree(folder, ignore_errors=True)
