"""The checkpoints from which a run resumes after its last finished epoch, and the locks of runs.

    <data_dir>/checkpoints/<name>/checkpoint.npz   the checkpoint of a run of this machine
    <data_dir>/checkpoints/<name>/.lock            held while a process works on the run
    <data_dir>/.checkpoints.lock                   held while a process looks for an existing run and opens one
    <the run's artifacts>/checkpoint/<attempt>-0.npz and <attempt>-1.npz      machines that share no disk

The tag ``checkpoint`` of a run is its name of 32 hexadecimal digits. A further kind of storage is a class with the
methods of :class:`RemoteCheckpoint`, and a branch in :func:`of`. Storage locks nothing. On one machine, file locks keep
two processes from training the same run; the operating system releases a lock however its process ends. On a cluster,
Ray knows which processes are alive.
"""

import io
import json
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from pipeline import disk
from pipeline.epochs import EpochRecord, Snapshot
from pipeline.errors import DataError, UsageError, reason
from pipeline.tracking import store
from pipeline.tracking.schema import TrackedRun

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


def names(data_dir: Path) -> list[str]:
    """Return the names of all runs that have a folder on this machine."""
    found = (data_dir / "checkpoints").glob("*")
    return sorted(path.name for path in found if path.is_dir() and _NAME.fullmatch(path.name))


@dataclass(frozen=True)
class LocalCheckpoint:
    """The checkpoint of a run in a folder of this machine."""

    folder: Path

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint to disk, then replace the previous one.

        Raises:
            DataError: it cannot be written; the previous one is kept.
        """
        path = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with disk.new_file(path) as incoming:
                incoming.write_bytes(_packed(snapshot))
        except OSError as error:
            raise DataError(
                f"data_dir: the checkpoint {path} cannot be written: {reason(error)}. Free some space, then repeat the "
                "command: the last checkpoint is kept."
            ) from None

    def load(self) -> Snapshot | None:
        """Return the checkpoint; None if no epoch has finished, or if it is damaged."""
        return _latest(path.read_bytes() for path in self.folder.glob(FILE))

    def remove(self) -> None:
        """Remove the folder, with the lock: the run has finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class RemoteCheckpoint:
    """The checkpoint of a run among its artifacts on the tracking server.

    Two files take turns: whenever a machine stops, one of the two is complete. Each process that trains writes its
    own files, so a process that is still alive after its node was given up overwrites nothing.
    """

    run_id: str
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def save(self, snapshot: Snapshot) -> None:
        """Replace the last but one checkpoint.

        Raises:
            TrackingError: the artifact store refuses it.
        """
        file = f"{self.attempt}-{len(snapshot.history) % 2}.npz"
        store.write_files(self.run_id, {f"{FOLDER}/{file}": _packed(snapshot)})

    def load(self) -> Snapshot | None:
        """Return the checkpoint of the last epoch; None if no epoch has finished, or if all files are damaged."""
        return _latest(store.read_files(self.run_id, FOLDER))

    def remove(self) -> None:
        """Remove all files of the checkpoint: the run has finished."""
        store.remove_files(self.run_id, FOLDER)


def of(run: TrackedRun, data_dir: Path) -> LocalCheckpoint | RemoteCheckpoint:
    """Return the checkpoint of a run, where the run's tag says that it is.

    Raises:
        DataError: the tag is not from this pipeline.
    """
    return (
        RemoteCheckpoint(run.run_id)
        if run.has_remote_checkpoint
        else LocalCheckpoint(folder_of(data_dir, run.checkpoint))
    )


def _packed(snapshot: Snapshot) -> bytes:
    """Return a snapshot as a NumPy archive without pickle."""
    log = {"history": [asdict(record) for record in snapshot.history], "seconds": snapshot.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(snapshot.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(snapshot.best_weights)}
    buffer = io.BytesIO()
    np.savez(buffer, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _latest(archives: Iterable[bytes]) -> Snapshot | None:
    """Return the snapshot with the most epochs; damaged archives, whose checksums do not match, are skipped."""
    found = []
    for archive in archives:
        with suppress(*_DAMAGED), np.load(io.BytesIO(archive)) as arrays:
            log = json.loads(arrays["log"].tobytes())
            state, weights = (
                [arrays[name] for name in sorted(arrays) if name.startswith(kind)] for kind in ("state_", "weight_")
            )
            history = [EpochRecord(**record) for record in log["history"]]
            found.append(Snapshot(history=history, state=state, best_weights=weights, seconds=log["seconds"]))
    return max(found, key=lambda snapshot: len(snapshot.history), default=None)


# --- locks ----------------------------------------------------------------------------------------------------------


class LockedError(UsageError):
    """Another process works on the run."""


def hold(data_dir: Path, name: str) -> AbstractContextManager[object]:
    """Acquire the lock of a run on this machine, and return a context that releases it.

    Raises:
        DataError: the name is not from this pipeline.
        LockedError: another process holds it.
        OSError: the lock cannot be written.
    """
    try:
        return _acquired(folder_of(data_dir, name) / LOCK, timeout=0)
    except Timeout:
        raise LockedError(
            f"resume: must be an interrupted run; another process is training this one, in {folder_of(data_dir, name)}."
        ) from None


def exclusive(data_dir: Path) -> AbstractContextManager[object]:
    """Wait until no other process looks for existing runs, and return a context that keeps them waiting.

    Otherwise two processes would both find none.
    """
    return _acquired(data_dir / f".checkpoints{LOCK}", timeout=-1)


def is_held(data_dir: Path, name: str) -> bool:
    """Return whether a process of this machine works on the run."""
    try:
        with hold(data_dir, name) if folder_of(data_dir, name).is_dir() else nullcontext():
            return False
    except LockedError:
        return True


def _acquired(path: Path, *, timeout: float) -> AbstractContextManager[object]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path).acquire(timeout=timeout)
