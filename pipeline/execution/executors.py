"""The executors of runs and other jobs: processes of this machine, or a Ray cluster.

    with executors.open_executor("ray") as executor: ...

A further kind, such as Dask, is a module like ``ray_executor.py`` and a line in :func:`open_executor`.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.execution import job, worker_pool
from pipeline.execution.job import Job
from pipeline.execution.worker_pool import Event, ShouldContinue, Work, WorkerPool, run_in
from pipeline.machine import usable_cores

LOCAL = "local"


class FileRef(Protocol):
    """A file or folder of the machine where a command was typed, as jobs get it; can be pickled."""

    @property
    def is_remote(self) -> bool:
        """Whether what is opened is a copy on another machine."""

    def open(self) -> AbstractContextManager[Path]:
        """Give a path at which the calling process can read it."""


class Executor(Protocol):
    """Runs jobs."""

    @property
    def remote(self) -> bool:
        """Whether its processes share no disk: checkpoints are then artifacts of their runs, and there are no locks."""

    def default_workers(self, trainings: int, /) -> int:
        """Return how many trainings to run at a time."""

    def cores(self, count: int, /) -> int:
        """Return the cores that each of ``count`` trainings may use."""

    def train(
        self, jobs: Iterable[Job], data: DataSet, /, *, count: int, should_continue: ShouldContinue
    ) -> Generator[Event]:
        """Train on the data, ``count`` jobs at a time; yield what happens, see :func:`run_in`."""

    def run(self, work: Work, jobs: Iterable[Any], /, *, count: int) -> Generator[Event]:
        """Do other jobs, ``count`` at a time; yield what happens."""

    def file_ref(self, path: Path, /) -> FileRef:
        """Return a file or folder of this machine as jobs get it."""


@dataclass(frozen=True)
class LocalFile:
    """A file or folder of this machine, for a process on it."""

    path: Path
    is_remote = False

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Give its path."""
        yield self.path


class LocalExecutor:
    """Processes of this machine."""

    remote = False

    def default_workers(self, trainings: int) -> int:
        """Return how many trainings to run at a time on this machine."""
        return worker_pool.default_workers(trainings)

    def cores(self, count: int) -> int:
        """Return an equal share of the cores."""
        return max(1, usable_cores() // count)

    def train(
        self, jobs: Iterable[Job], data: DataSet, *, count: int, should_continue: ShouldContinue
    ) -> Generator[Event]:
        """Train in processes."""
        return run_in(WorkerPool(job.train, should_continue), jobs, count=count)

    def run(self, work: Work, jobs: Iterable[Any], *, count: int) -> Generator[Event]:
        """Do other jobs in processes."""
        return run_in(WorkerPool(work), jobs, count=count)

    def file_ref(self, path: Path) -> LocalFile:
        """Return the path, which is valid in all processes."""
        return LocalFile(path.absolute())


@contextmanager
def open_executor(on: str, *, tracks: bool = True) -> Iterator[Executor]:
    """Give the executor that an option names, connected.

    Args:
        on: ``local``, ``ray``, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs write runs.

    Raises:
        UsageError: it is none of these, there is no such cluster, or another command trains on it.
        TrackingError: other machines cannot reach the tracking server.
    """
    if on == LOCAL:
        yield LocalExecutor()
    elif on == "ray" or on.startswith("ray://"):
        if find_spec("ray") is None:
            raise UsageError("on: expected Ray to be installed for `ray`, found none. Try pip install -e '.[ray]'.")
        from pipeline.execution import ray_executor

        with ray_executor.connected(on, tracks=tracks) as executor:
            yield executor
    else:
        raise UsageError(f"on: expected local, ray or an address such as ray://HOST:10001, received {on!r}.")
