"""File locks that prevent two processes of a machine from training the same run.

    <data_dir>/checkpoints/<name>/.lock    held while a process works on the run
    <data_dir>/.checkpoints.lock           held while a process looks for an existing run and opens one

The operating system releases a lock however its process ends. On a cluster there are no file locks: Ray knows which
processes are alive.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import DataError, UsageError, reason
from pipeline.training.checkpoints import folder_of

LOCK = ".lock"


class LockedError(UsageError):
    """Another process works on the run."""


class RunLocks:
    """The locks of the runs whose checkpoints are below a folder of data, by the names of the checkpoints."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def hold(self, name: str) -> AbstractContextManager[object]:
        """Acquire the lock of a run, and return a context that releases it.

        Raises:
            DataError: the lock cannot be written.
            LockedError: another process holds it.
        """
        path = folder_of(self._data_dir, name) / LOCK
        try:
            return self._acquired(path, timeout=0)
        except Timeout:
            raise LockedError(
                f"resume: expected an interrupted run, but another process is training it, in {path.parent}."
            ) from None

    def exclusive(self) -> AbstractContextManager[object]:
        """Wait until no other process looks for existing runs, and return a context that keeps them waiting.

        Otherwise two processes would both find none.

        Raises:
            DataError: the lock cannot be written.
        """
        return self._acquired(self._data_dir / f".checkpoints{LOCK}", timeout=-1)

    def is_held(self, name: str) -> bool:
        """Return whether a process of this machine works on the run."""
        try:
            with self.hold(name) if self.exists(name) else nullcontext():
                return False
        except LockedError:
            return True

    def exists(self, name: str) -> bool:
        """Return whether the run was begun on this machine, with this folder of data, and has not finished."""
        return folder_of(self._data_dir, name).is_dir()

    def _acquired(self, path: Path, *, timeout: float) -> AbstractContextManager[object]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(path).acquire(timeout=timeout)
        except Timeout:  # an OSError, too, but not a fault of the folder
            raise
        except OSError as error:
            raise DataError(
                f"data_dir: expected a folder to write to, received {self._data_dir}: {reason(error)}. "
                "Make it writable, or choose another data_dir."
            ) from None
