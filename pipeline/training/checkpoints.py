"""Checkpoint storage: save after each epoch what a run needs to resume.

Storage only. Which process may train a run is decided in ``locks.py`` on one machine, and by Ray on a cluster.
A further kind of storage is a class with the methods of :class:`CheckpointStore`, and a line in :func:`open_store`.
"""

import re
import shutil
import zipfile
from pathlib import Path
from typing import Protocol

from pipeline import disk
from pipeline.errors import DataError, reason
from pipeline.records import Snapshot
from pipeline.training.remote_checkpoints import RemoteCheckpoints
from pipeline.training.snapshots import decode, encode

FILE = "checkpoint.npz"

_NAME = re.compile(r"[0-9a-f]{32}")


class CheckpointStore(Protocol):
    """Keeps one checkpoint per name of 32 hexadecimal digits; any other name raises a DataError.

    The names come from tags of runs, which others may write.
    """

    def save(self, name: str, snapshot: Snapshot, /) -> None:
        """Replace the checkpoint by a new one; if interrupted, one of the two is left whole."""

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
        DataError: the name is not one of ours, so no path is made of it.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"checkpoint: expected a name of 32 hexadecimal digits in the run's tag, received {name!r}. "
            "The pipeline did not write this; train again with --new."
        )
    return data_dir / "checkpoints" / name


class LocalCheckpoints:
    """Checkpoints in ``<data_dir>/checkpoints/<name>/checkpoint.npz``."""

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
        """Write a checkpoint to disk, then move it over the one before.

        Raises:
            DataError: it cannot be written; the one before stays.
        """
        path = folder_of(self._data_dir, name) / FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with disk.new_file(path) as incoming, incoming.open("wb") as file:
                encode(snapshot, file)
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
                return decode(file)
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: expected a whole checkpoint, received: {error}. Remove its folder to train from the start."
            ) from None

    def remove(self, name: str) -> None:
        """Remove a run's folder, with its lock: the run has finished."""
        shutil.rmtree(folder_of(self._data_dir, name), ignore_errors=True)
