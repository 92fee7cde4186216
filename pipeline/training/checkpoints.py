"""Checkpoint storage: save after each epoch what a run needs to resume.

Storage only. Which process may train a run is decided in ``locks.py`` on one machine, and by Ray on a cluster.
A further kind of storage is a class with the methods of :class:`CheckpointStore`, and a line in :func:`open_store`.

    <data_dir>/checkpoints/<name>/checkpoint.npz                           on one machine
    <the run's artifacts>/checkpoint/<attempt>-0.npz and <attempt>-1.npz   on machines that share no disk
"""

import hashlib
import io
import json
import re
import shutil
import uuid
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from pipeline import disk
from pipeline.errors import DataError, reason
from pipeline.records import EpochRecord, Snapshot
from pipeline.tracking import store

FILE, FOLDER = "checkpoint.npz", "checkpoint"

_NAME = re.compile(r"[0-9a-f]{32}")


class CheckpointStore(Protocol):
    """Keeps one checkpoint per name of 32 hexadecimal digits; any other name raises a DataError.

    The names come from tags of runs, which others may write.
    """

    def save(self, name: str, snapshot: Snapshot, /) -> None:
        """Replace the checkpoint by a new one; if interrupted, one of the two remains complete."""

    def load(self, name: str, /) -> Snapshot | None:
        """Return the last checkpoint; None if no epoch has finished. Raise a DataError if it is damaged."""

    def remove(self, name: str, /) -> None:
        """Remove the checkpoint, if there is one."""


def open_store(data_dir: Path, *, remote: bool) -> CheckpointStore:
    """Return the store for runs of this machine, or the one that every machine reaches (``remote``)."""
    return RemoteCheckpoints() if remote else LocalCheckpoints(data_dir)


def folder_of(data_dir: Path, name: str) -> Path:
    """Return the folder for the checkpoint and the lock of one run on this machine.

    Raises:
        DataError: the name is not from this pipeline, so it must not become a path.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"checkpoint: expected a name of 32 hexadecimal digits in the run's tag, received {name!r}. "
            "The pipeline did not write this; train again with --new."
        )
    return data_dir / "checkpoints" / name


class LocalCheckpoints:
    """Checkpoints in files of this machine."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def names(self) -> list[str]:
        """Return the names of all runs that have a folder here."""
        found = (self._data_dir / "checkpoints").glob("*")
        return sorted(path.name for path in found if path.is_dir() and _NAME.fullmatch(path.name))

    def size(self, name: str) -> int:
        """Return the size of a checkpoint in bytes."""
        return disk.size(folder_of(self._data_dir, name))

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint to disk, then replace the previous one.

        Raises:
            DataError: it cannot be written; the previous one is kept.
        """
        path = folder_of(self._data_dir, name) / FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with disk.new_file(path) as incoming, incoming.open("wb") as file:
                _write(snapshot, file)
        except OSError as error:
            raise DataError(
                f"data_dir: expected to write the checkpoint {path}, received: {reason(error)}. The last checkpoint is "
                f"of epoch {len(snapshot.history) - 1}: free some space, then repeat the command to resume."
            ) from None

    def load(self, name: str) -> Snapshot | None:
        """Return a checkpoint; None if no epoch has finished.

        Raises:
            DataError: it is damaged.
        """
        path = folder_of(self._data_dir, name) / FILE
        try:
            with path.open("rb") as file:
                return _read(file)
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: expected a complete checkpoint, received: {error}. Remove its folder to train from scratch."
            ) from None

    def remove(self, name: str) -> None:
        """Remove a run's folder, with its lock: the run has finished."""
        shutil.rmtree(folder_of(self._data_dir, name), ignore_errors=True)


class RemoteCheckpoints:
    """Checkpoints in the tracking server's artifact store, by the ids of their runs.

    Two files take turns, and each begins with the digest of the rest: whenever a machine stops, one of the two is
    whole. Each process that trains writes files of its own: if its machine was given up, but the process still lives,
    it overwrites nothing.
    """

    def __init__(self) -> None:
        self._attempt = uuid.uuid4().hex[:8]

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint over the last but one.

        Raises:
            TrackingError: the artifact store refuses it.
        """
        buffer = io.BytesIO()
        _write(snapshot, buffer)
        path = f"{FOLDER}/{self._attempt}-{len(snapshot.history) % 2}.npz"
        store.write_file(name, path, _digest(buffer.getvalue()) + buffer.getvalue())

    def load(self, name: str) -> Snapshot | None:
        """Return the checkpoint of the last epoch; None if no epoch has finished.

        Raises:
            DataError: there are files, and none of them is whole.
        """
        contents = list(store.read_files(name, FOLDER))
        found = [_read(io.BytesIO(each[64:])) for each in contents if each[:64] == _digest(each[64:])]
        if contents and not found:
            raise DataError(
                f"run {name}: expected a complete checkpoint in its folder {FOLDER}, found none. Train again."
            )
        return max(found, key=lambda snapshot: len(snapshot.history), default=None)

    def size(self, name: str) -> int:
        """Return the size of a run's checkpoints in bytes."""
        return sum(store.files_in(name, FOLDER).values())

    def remove(self, name: str) -> None:
        """Remove a checkpoint: its run has finished."""
        store.remove_checkpoint(name, FOLDER)


def _digest(content: bytes) -> bytes:
    """Return the SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest().encode()


def _write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write a snapshot as a NumPy archive without pickle."""
    log = {"history": [asdict(record) for record in snapshot.history], "seconds": snapshot.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(snapshot.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(snapshot.best_weights)}
    np.savez(file, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def _read(file: BinaryIO) -> Snapshot:
    """Read a snapshot that :func:`_write` has written; NumPy's and JSON's errors pass through if it is damaged."""
    with np.load(file) as arrays:
        log = json.loads(arrays["log"].tobytes())
        return Snapshot(
            history=[EpochRecord(**record) for record in log["history"]],
            state=[arrays[name] for name in sorted(arrays) if name.startswith("state_")],
            best_weights=[arrays[name] for name in sorted(arrays) if name.startswith("weight_")],
            seconds=log["seconds"],
        )
