"""Where trainings stand, kept so that they can go on after they were cut off; removed when they have ended.

    <data_dir>/checkpoints/<name>/
        checkpoint.npz    after the last finished epoch
        .lock             held by the process that is at the training; the system frees it however that process ends

A training was begun on this machine, and has not ended, if it has such a folder; it was cut off if nobody holds its
lock.
"""

import json
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from filelock import FileLock, Timeout

from pipeline import disk
from pipeline.errors import DataError, UsageError, reason
from pipeline.records import EpochRecord, Snapshot

FILE = "checkpoint.npz"
LOCK = ".lock"

_NAME = re.compile(r"[0-9a-f]{32}")


class HeldError(UsageError):
    """Another process is at a training."""


class Place(Protocol):
    """Where checkpoints are kept: :class:`Checkpoints` on one machine; see ``travelling.py`` for many."""

    @property
    def travels(self) -> bool:
        """Whether any machine can go on with them, since they are kept with their runs."""

    def hold(self, name: str, /) -> AbstractContextManager[None]:
        """Hold a checkpoint against other processes; raise :class:`HeldError` if one has it."""

    def keeps(self, name: str, /) -> bool:
        """Return whether this process, which holds a checkpoint, has not been given up to another meanwhile."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold others off that look for twins and open runs, where that can be done."""

    def is_held(self, name: str, /) -> bool:
        """Return whether a process is at the training."""

    def exists(self, name: str, /) -> bool:
        """Return whether the training was begun and has not ended."""

    def save(self, name: str, snapshot: Snapshot, /) -> None:
        """Write a checkpoint, whole or not at all."""

    def load(self, name: str, /) -> Snapshot | None:
        """Return a checkpoint; None if no epoch was finished."""

    def remove(self, name: str, /) -> None:
        """Remove a checkpoint: its training has ended."""


def new_name() -> str:
    """Return a name that no checkpoint has."""
    return uuid.uuid4().hex


class Checkpoints:
    """The checkpoints in a folder of this machine, by their names.

    Each method takes a name, as :func:`new_name` gives it. It may come from a store that others write to: any other
    raises a DataError, and no path is made of it.

    Args:
        data_dir: holds them, in ``checkpoints``.
    """

    travels = False

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "checkpoints"

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Make room for a checkpoint, and hold it against other processes.

        Raises:
            DataError: there is no room to be made.
            HeldError: another process holds it.
        """
        folder = self._folder(name)
        try:
            with self._writable():
                folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(folder / LOCK)
                lock.acquire(timeout=0)
        except Timeout:
            raise HeldError(
                f"resume: expected a run that was cut off, but another process is at it, in {folder}."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def keeps(self, name: str) -> bool:
        """Return True: who holds a lock is never given up."""
        return True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process of this machine looks for twins and opens runs, and hold them off.

        Two that look at once would both find nothing, and both begin.

        Raises:
            DataError: there is no room for the lock.
        """
        with self._writable():
            self._root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._root.with_name(f".{self._root.name}{LOCK}"))
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def is_held(self, name: str) -> bool:
        """Return whether a process of this machine is at the training."""
        lock = FileLock(self._folder(name) / LOCK)
        if not Path(lock.lock_file).exists():
            return False
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def exists(self, name: str) -> bool:
        """Return whether the training was begun here and has not ended."""
        return self._folder(name).is_dir()

    def names(self) -> list[str]:
        """Return the names of all checkpoints that are here."""
        found = self._root.iterdir() if self._root.is_dir() else ()
        return sorted(path.name for path in found if path.is_dir() and _NAME.fullmatch(path.name))

    def size(self, name: str) -> int:
        """Return how many bytes a checkpoint takes."""
        return disk.size(self._folder(name))

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint in place of the one before; whenever the machine stops, one of the two is whole.

        Raises:
            DataError: it cannot be written; the one before stays.
        """
        path = self._folder(name) / FILE
        try:
            with disk.new_file(path) as incoming, incoming.open("wb") as file:
                encode(snapshot, file)
        except OSError as error:
            raise DataError(
                f"data_dir: expected to write the checkpoint {path}, received: {reason(error)}. The training stands "
                f"after epoch {len(snapshot.history) - 1}: make room, then go on with it."
            ) from None

    def load(self, name: str) -> Snapshot | None:
        """Return a checkpoint; None if no epoch was finished.

        Raises:
            DataError: it is damaged.
        """
        path = self._folder(name) / FILE
        try:
            with path.open("rb") as file:
                return decode(file)
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: expected a whole checkpoint, received: {error}. Remove the folder to train anew."
            ) from None

    def remove(self, name: str) -> None:
        """Remove a checkpoint: its training has ended."""
        shutil.rmtree(self._folder(name), ignore_errors=True)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except Timeout:  # an OSError, too, but not a fault of the folder
            raise
        except OSError as error:
            raise DataError(
                f"data_dir: expected a folder to write to, received {self._root.parent}: {reason(error)}. "
                "Free it, or take another data_dir."
            ) from None

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise DataError(
                f"checkpoint: expected a name of 32 hexadecimal digits in the run's tag, received {name!r}. "
                "The pipeline has not written this; train anew."
            )
        return self._root / name


def encode(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write a snapshot into a file."""
    log = {"history": [asdict(record) for record in snapshot.history], "seconds": snapshot.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(snapshot.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(snapshot.best_weights)}
    np.savez(file, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def decode(file: BinaryIO) -> Snapshot:
    """Read a snapshot that :func:`encode` has written."""
    with np.load(file) as arrays:
        log = json.loads(arrays["log"].tobytes())
        return Snapshot(
            history=[EpochRecord(**record) for record in log["history"]],
            state=[arrays[name] for name in sorted(arrays) if name.startswith("state_")],
            best_weights=[arrays[name] for name in sorted(arrays) if name.startswith("weight_")],
            seconds=log["seconds"],
        )
