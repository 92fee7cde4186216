"""Many trainings through an executor: which jobs they are, how many at once, what becomes of each."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.execution import default_workers, job, worker_pool
from pipeline.execution.job import Done, Job, Opened
from pipeline.execution.progress_board import Board
from pipeline.execution.worker_pool import Event, GoesOn, Work
from pipeline.machine import usable_cores
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import lifecycle
from pipeline.training import naming

ROWS = 28  # of an image, to tell about how long a training takes

LOCAL = "local"
"""The name of the executor that is this machine."""


class Parcel(Protocol):
    """A file or folder of the machine where a command was typed; can be pickled."""

    @property
    def travels(self) -> bool:
        """Whether what is opened is a copy, on another machine."""

    def opened(self) -> AbstractContextManager[Path]:
        """Give the path by which the process that calls this has it."""


@dataclass(frozen=True)
class Here:
    """A file or folder of this machine, for a process on it."""

    path: Path
    travels = False

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Give its path."""
        yield self.path


class Executor(Protocol):
    """Where trainings run; :mod:`pipeline.execution.executors` chooses one."""

    @property
    def remote(self) -> bool:
        """Whether its processes share no disk: checkpoints are then artifacts of their runs, and there are no locks."""

    def at_once(self, trainings: int, /) -> int:
        """Return how many trainings to run at once."""

    def cores(self, count: int, /) -> int:
        """Return the cores that each of ``count`` trainings at once may use."""

    def train(self, jobs: Iterable[Job], data: DataSet, /, *, count: int, goes_on: GoesOn) -> Generator[Event]:
        """Do the jobs on the data, ``count`` at a time; yield what happens, see :func:`processes.run`."""

    def run(self, work: Work, jobs: Iterable[Any], /, *, count: int) -> Generator[Event]:
        """Do other jobs than trainings, ``count`` at a time; yield what happens."""

    def parcel(self, place: Path, /) -> Parcel:
        """Return a file or folder of this machine as a job gets at it, wherever it runs."""


class Local:
    """The processes of this machine."""

    remote = False

    def at_once(self, trainings: int) -> int:
        """Return how many trainings this machine takes."""
        return default_workers.at_once(trainings)

    def cores(self, count: int) -> int:
        """Return each one's share of the cores."""
        return max(1, usable_cores() // count)

    def train(self, jobs: Iterable[Job], data: DataSet, *, count: int, goes_on: GoesOn) -> Generator[Event]:
        """Do the jobs in processes."""
        return worker_pool.run(job.train, jobs, count=count, goes_on=goes_on)

    def run(self, work: Work, jobs: Iterable[Any], *, count: int) -> Generator[Event]:
        """Do other jobs in processes."""
        return worker_pool.run(work, jobs, count=count)

    def parcel(self, place: Path) -> Parcel:
        """Return what is there for all processes."""
        return Here(place.absolute())


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of the jobs.

    Attributes:
        done: what each leaves that ended well.
        failures: the reason of each that failed.
    """

    done: Mapping[Job, Done] = field(default_factory=dict)
    failures: Mapping[Job, str] = field(default_factory=dict)


def planned(grid: Sequence[Settings], data: DataSet, *, parent: str, cores: int) -> list[Job]:
    """Return the jobs of a comparison, each of which may use so many cores."""
    return [
        Job.of(settings, data, name=name, parent=parent, cores=cores)
        for name, settings in zip(naming.trainings(grid, data.name), grid, strict=True)
    ]


def train_all(jobs: Sequence[Job], data: DataSet, reporter: Reporter, *, count: int, executor: Executor) -> Outcome:
    """Do the jobs on the data, ``count`` at a time; return what came of each."""
    done: dict[Job, Done] = {}
    failures: dict[Job, str] = {}

    def keep(event: worker_pool.Event) -> None:
        if isinstance(event, worker_pool.Finished):
            done[event.job] = event.result
        elif isinstance(event, worker_pool.Failed):
            failures[event.job] = event.reason

    order = sorted(jobs, key=_size, reverse=True)  # the longest first, so that no core waits long for the last
    follow(order, data, Board(order, count), reporter, keep, count=count, executor=executor)
    return Outcome(
        done={each: done[each] for each in jobs if each in done},
        failures={each: failures[each] for each in jobs if each in failures},
    )


def follow(
    jobs: Iterable[Job],
    data: DataSet,
    board: Board,
    reporter: Reporter,
    take: Callable[[worker_pool.Event], None],
    *,
    count: int,
    executor: Executor,
    goes_on: GoesOn = worker_pool.always,
) -> None:
    """Do the jobs, ``count`` at a time; a run that an interruption leaves open is ended.

    Args:
        jobs: taken one by one, as there is room: the next one may depend on what has happened before.
        data: what they train on.
        board: that shows them.
        reporter: told how far they are.
        take: given all that happens.
        count: of jobs at a time.
        executor: that does them.
        goes_on: whether a job is to go on after what it has sent.
    """
    run_ids: dict[Job, str] = {}
    with _all_ended(run_ids), closing(executor.train(jobs, data, count=count, goes_on=goes_on)) as events:
        for event in events:
            if isinstance(event, worker_pool.Finished | worker_pool.Failed):
                run_id = run_ids.pop(event.job, None)
                if run_id and isinstance(event, worker_pool.Failed):
                    lifecycle.mark_failed(run_id, event.reason)
            elif isinstance(event, worker_pool.Said) and isinstance(event.message, Opened):
                run_ids[event.job] = event.message.run_id
            take(event)
            board.take(event)
            reporter.trainings(board.rows, board.left)


@contextmanager
def _all_ended(run_ids: Mapping[Job, str]) -> Iterator[None]:
    """Mark those runs as KILLED that an interruption leaves RUNNING: of a process that took too long to end."""
    try:
        yield
    except KeyboardInterrupt:
        for run_id in run_ids.values():
            with lifecycle.best_effort():
                lifecycle.mark_failed(run_id, lifecycle.STOPPED, status="KILLED")
        raise


def _size(job: Job) -> tuple[int, bool, int]:
    """Return what sorts jobs by the time they take, roughly: layers passed through, then what each computes.

    A custom cell has no fast path.
    """
    settings = job.settings
    directions = 2 if settings.direction == "bidirectional" else 1
    steps = settings.steps or ROWS if settings.steps >= 0 else ROWS**2
    passes = settings.epochs * steps * settings.layers * directions
    return passes, cells.is_custom(settings.cell), cells.gates(settings.cell) * settings.hidden_units
