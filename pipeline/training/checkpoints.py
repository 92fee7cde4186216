"""The checkpoints from which a run resumes after its last finished epoch, and the locks of runs.

    <data_dir>/checkpoints/<name>/checkpoint.npz   the checkpoint of a run of this machine
    <data_dir>/checkpoints/<name>/.lock            held while a process works on the run
    <data_dir>/.checkpoints.lock                   held while a process looks for an existing run and opens one
    <the run's artifacts>/checkpoint/<attempt>-0.npz and <attempt>-1.npz      machines that share no disk

A store keeps one checkpoint per name of 32 hexadecimal digits. A further kind of store is a class with the methods of
:class:`RemoteCheckpoints`, and a branch in :func:`open_store`. Storage locks nothing. On one machine, file locks keep
two processes from training the same run; the operating system releases a lock however its process ends. On a cluster,
Ray knows which processes are alive.
"""

import io
import json
import re
import shutil
import uuid
import zipfile
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from pipeline import disk
from pipeline.epochs import EpochRecord, Snapshot
from pipeline.errors import DataError, UsageError, reason
from pipeline.tracking import store

FILE, FOLDER, LOCK = "checkpoint.npz", "checkpoint", ".lock"

_NAME = re.compile(r"[0-9a-f]{32}")
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


# --- storage --------------------------------------------------------------------------------------------------------


def folder_of(data_dir: Path, name: str) -> Path:
    """Return the folder for the checkpoint and the lock of one run on this machine.

    Raises:
        DataError: the name is not from this pipeline, so it must not become a path.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"checkpoint: the run's tag must be a name of 32 hexadecimal digits; got {name!r}. "
            "The pipeline did not write this; train again with --new."
        )
    return data_dir / "checkpoints" / name


@dataclass(frozen=True)
class LocalCheckpoints:
    """Checkpoints in files of this machine, below a folder of data."""

    data_dir: Path

    def names(self) -> list[str]:
        """Return the names of all runs that have a folder here."""
        found = (self.data_dir / "checkpoints").glob("*")
        return sorted(path.name for path in found if path.is_dir() and _NAME.fullmatch(path.name))

    def size(self, name: str) -> int:
        """Return the size of a checkpoint in bytes."""
        return disk.size(folder_of(self.data_dir, name))

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint to disk, then replace the previous one.

        Raises:
            DataError: it cannot be written; the previous one is kept.
        """
        path = folder_of(self.data_dir, name) / FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with disk.new_file(path) as incoming, incoming.open("wb") as file:
                _write(snapshot, file)
        except OSError as error:
            raise DataError(
                f"data_dir: the checkpoint {path} cannot be written: {reason(error)}. The last one is of epoch "
                f"{len(snapshot.history) - 1}: free some space, then repeat the command to resume."
            ) from None

    def load(self, name: str) -> Snapshot | None:
        """Return a checkpoint; None if no epoch has finished.

        Raises:
            DataError: it is damaged.
        """
        path = folder_of(self.data_dir, name) / FILE
        try:
            with path.open("rb") as file:
                return _read(file)
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            raise DataError(
                f"{path}: the checkpoint is damaged: {error}. Remove its folder to train from scratch."
            ) from None

    def remove(self, name: str) -> None:
        """Remove a run's folder, with its lock: the run has finished."""
        shutil.rmtree(folder_of(self.data_dir, name), ignore_errors=True)


class RemoteCheckpoints:
    """Checkpoints in the tracking server's artifact store, by the ids of their runs.

    Two files take turns: whenever a machine stops, one of the two is complete. Each process that trains writes its
    own files, so a process that is still alive after its node was given up overwrites nothing.
    """

    def __init__(self) -> None:
        self._attempt = uuid.uuid4().hex[:8]

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Replace the last but one checkpoint.

        Raises:
            TrackingError: the artifact store refuses it.
        """
        buffer = io.BytesIO()
        _write(snapshot, buffer)
        file = f"{self._attempt}-{len(snapshot.history) % 2}.npz"
        store.write_files(name, {f"{FOLDER}/{file}": buffer.getvalue()})

    def load(self, name: str) -> Snapshot | None:
        """Return the checkpoint of the last epoch; None if no epoch has finished.

        Raises:
            DataError: all files are damaged.
        """
        contents, found = store.read_files(name, FOLDER), []
        for content in contents:
            with suppress(*_DAMAGED):
                found.append(_read(io.BytesIO(content)))
        if contents and not found:
            raise DataError(f"run {name}: all files in its folder {FOLDER} are damaged. Train again with --new.")
        return max(found, key=lambda snapshot: len(snapshot.history), default=None)

    def size(self, name: str) -> int:
        """Return the size of a run's checkpoints in bytes."""
        return sum(store.files_in(name, FOLDER).values())

    def remove(self, name: str) -> None:
        """Remove a checkpoint: its run has finished."""
        store.remove_files(name, FOLDER)


CheckpointStore = LocalCheckpoints | RemoteCheckpoints


def open_store(data_dir: Path, *, remote: bool) -> CheckpointStore:
    """Return the store for runs of this machine, or the one that every machine reaches (``remote``)."""
    return RemoteCheckpoints() if remote else LocalCheckpoints(data_dir)


def _write(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write a snapshot as a NumPy archive without pickle."""
    log = {"history": [asdict(record) for record in snapshot.history], "seconds": snapshot.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(snapshot.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(snapshot.best_weights)}
    np.savez(file, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def _read(file: BinaryIO) -> Snapshot:
    """Return a snapshot that :func:`_write` has written; raise one of :data:`_DAMAGED` if a checksum does not match."""
    with np.load(file) as arrays:
        log = json.loads(arrays["log"].tobytes())
        return Snapshot(
            history=[EpochRecord(**record) for record in log["history"]],
            state=[arrays[name] for name in sorted(arrays) if name.startswith("state_")],
            best_weights=[arrays[name] for name in sorted(arrays) if name.startswith("weight_")],
            seconds=log["seconds"],
        )


# --- locks ----------------------------------------------------------------------------------------------------------


class LockedError(UsageError):
    """Another process works on the run."""


@dataclass(frozen=True)
class RunLocks:
    """The locks of the runs whose checkpoints are below a folder of data, by the names of the checkpoints."""

    data_dir: Path

    def hold(self, name: str) -> AbstractContextManager[object]:
        """Acquire the lock of a run, and return a context that releases it.

        Raises:
            DataError: the lock cannot be written.
            LockedError: another process holds it.
        """
        return self._acquired(folder_of(self.data_dir, name) / LOCK, timeout=0)

    def exclusive(self) -> AbstractContextManager[object]:
        """Wait until no other process looks for existing runs, and return a context that keeps them waiting.

        Otherwise two processes would both find none.

        Raises:
            DataError: the lock cannot be written.
        """
        return self._acquired(self.data_dir / f".checkpoints{LOCK}", timeout=-1)

    def is_held(self, name: str) -> bool:
        """Return whether a process of this machine works on the run."""
        try:
            with self.hold(name) if self.exists(name) else nullcontext():
                return False
        except LockedError:
            return True

    def exists(self, name: str) -> bool:
        """Return whether the run was begun on this machine, with this folder of data, and has not finished."""
        return folder_of(self.data_dir, name).is_dir()

    def _acquired(self, path: Path, *, timeout: float) -> AbstractContextManager[object]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(path).acquire(timeout=timeout)
        except Timeout:  # Timeout is an OSError, but the folder has no problem
            raise LockedError(
                f"resume: must be an interrupted run; another process is training this one, in {path.parent}."
            ) from None
        except OSError as error:
            raise DataError(
                f"data_dir: must be a folder that can be written to; got {self.data_dir}: {reason(error)}. "
                "Make it writable, or choose another data_dir."
            ) from None
