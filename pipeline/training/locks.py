"""File locks that prevent two processes of a machine from training the same run.

    <data_dir>/checkpoints/<name>/.lock    held while a process works on the run
    <data_dir>/.checkpoints.lock           held while a process looks for an existing run and opens one

The operating system releases a lock however its process ends. On a cluster there are no file locks: Ray knows who is
alive.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock of a run.

        Raises:
            DataError: the lock cannot be written.
            LockedError: another process holds it.
        """
        path = folder_of(self._data_dir, name) / LOCK
        try:
            lock = self._acquired(path, timeout=0)
        except Timeout:
            raise LockedError(
                f"resume: expected an interrupted run, but another process is training it, in {path.parent}."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no other process looks for existing runs, and keep them waiting: two would both find none.

        Raises:
            DataError: the lock cannot be written.
        """
        lock = self._acquired(self._data_dir / f".checkpoints{LOCK}", timeout=-1)
        try:
            yield
        finally:
            lock.release()

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

    def _acquired(self, path: Path, *, timeout: float) -> FileLock:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire(timeout=timeout)
        except Timeout:  # an OSError, too, but not a fault of the folder
            raise
        except OSError as error:
            raise DataError(
                f"data_dir: expected a folder to write to, received {self._data_dir}: {reason(error)}. "
                "Make it writable, or choose another data_dir."
            ) from None
        return lock
