"""Train many runs with an executor: their jobs, order, progress and results.

    with executors.open_executor("ray") as executor: ...

A further kind of executor, such as one for Dask, is a module like ``ray_executor.py`` and a line in
:func:`open_executor`.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import UsageError
from pipeline.execution import job as jobs
from pipeline.execution.job import LOOKS, PRUNED, REUSED, Done, Job, Opened
from pipeline.execution.worker_pool import (
    Event,
    Executor,
    Failed,
    Finished,
    Message,
    Rescheduled,
    Scheduled,
    ShouldContinue,
    Started,
    always,
)
from pipeline.progress import Progress, Reporter
from pipeline.settings import Settings
from pipeline.tracking import lifecycle
from pipeline.training import identity

LOCAL = "local"
ROWS = 28  # of an image, to tell roughly how long a training takes

EVALUATION = 1.0
"""Seconds that a training needs at least until it has ended: its evaluation may still run."""


@contextmanager
def open_executor(on: str, *, tracks: bool = True) -> Iterator[Executor]:
    """Yield the connected executor that an option names.

    Args:
        on: ``local``, ``ray``, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs write runs.

    Raises:
        UsageError: it is none of these, there is no such cluster, or another command trains on it.
        TrackingError: other machines cannot reach the tracking server.
    """
    if on == LOCAL:
        yield Executor()
    elif on == "ray" or on.startswith("ray://"):
        if find_spec("ray") is None:
            raise UsageError("on: expected Ray to be installed for `ray`, found none. Try pip install -e '.[ray]'.")
        from pipeline.execution import ray_executor

        with ray_executor.connected(on, tracks=tracks) as executor:
            yield executor
    else:
        raise UsageError(f"on: expected local, ray or an address such as ray://HOST:10001, received {on!r}.")


class Outcome(NamedTuple):
    """The results of finished jobs, and the reasons of failed ones."""

    done: Mapping[Job, Done]
    failures: Mapping[Job, str]


def train_all(
    trainings: Sequence[Settings],
    data: DataSet,
    reporter: Reporter,
    *,
    parent: str,
    count: int,
    executor: Executor,
) -> Outcome:
    """Train on the data, ``count`` runs at a time; return the outcome of all jobs, in the order of the runs."""
    names, cores = identity.run_names(trainings, data.name), executor.cores(count)
    planned = [
        Job.of(settings, data, name=name, parent=parent, cores=cores)
        for name, settings in zip(names, trainings, strict=True)
    ]
    ended: dict[Job, Event] = {}

    def keep(event: Event) -> None:
        if isinstance(event, Finished | Failed):
            ended[event.job] = event

    order = sorted(planned, key=_size, reverse=True)  # the longest first, so that no core waits long for the last
    run_jobs(order, data, reporter, keep, count=count, executor=executor)
    events = [ended[job] for job in planned]
    return Outcome(
        done={event.job: event.result for event in events if isinstance(event, Finished)},
        failures={event.job: event.reason for event in events if isinstance(event, Failed)},
    )


def run_jobs(
    todo: Iterable[Job],
    data: DataSet,
    reporter: Reporter,
    take: Callable[[Event], None],
    *,
    count: int,
    executor: Executor,
    should_continue: ShouldContinue = always,
) -> None:
    """Do the jobs, ``count`` at a time; end the run of each whose process could not.

    Args:
        todo: the jobs; each is taken when a worker is free, so it may depend on earlier results. The jobs of a
            sequence are shown from the start.
        data: the data of the jobs.
        reporter: shows the progress.
        take: receives all events.
        count: number of jobs at a time.
        executor: runs the jobs.
        should_continue: answers their messages.
    """
    run_ids: dict[Job, str] = {}  # of the jobs that have opened a run
    active: dict[str, Job] = {}  # the one of each fingerprint that may look for runs: a search may repeat parameters

    def answer(job: Job, message: object) -> bool:
        if message == LOOKS:
            return active.setdefault(job.fingerprint, job) == job
        return should_continue(job, message)

    board = ProgressBoard(todo if isinstance(todo, Sequence) else (), count)
    work = executor.prepared(jobs.train, data)
    with _killed_on_interruption(run_ids), closing(executor.run(work, todo, count=count, answer=answer)) as events:
        for event in events:
            _follow(event, run_ids, active)
            take(event)
            board.update(event)
            reporter.trainings(board.rows, board.left)


def _follow(event: Event, run_ids: dict[Job, str], active: dict[str, Job]) -> None:
    """Note which runs are open; end the run of a job that failed, since its process may have died."""
    match event:
        case Message(job, Opened(run_id=run_id)):
            run_ids[job] = run_id
        case Finished(job) | Failed(job):
            ended = run_ids.pop(job, None)
            if active.get(job.fingerprint) == job:
                del active[job.fingerprint]
            if ended and isinstance(event, Failed):
                lifecycle.mark_failed(ended, event.reason)


@contextmanager
def _killed_on_interruption(run_ids: Mapping[Job, str]) -> Iterator[None]:
    """End runs as KILLED on Ctrl-C, if their processes took too long to do so."""
    try:
        yield
    except KeyboardInterrupt:
        for run_id in run_ids.values():
            with lifecycle.best_effort():
                lifecycle.mark_failed(run_id, lifecycle.STOPPED, status="KILLED")
        raise


def _size(job: Job) -> tuple[int, bool, int]:
    """Return a key that sorts jobs roughly by their time: the steps of all layers, then what each step computes.

    A custom cell has no fast path.
    """
    settings = job.settings
    directions = 2 if settings.direction == "bidirectional" else 1
    steps = settings.steps or ROWS if settings.steps >= 0 else ROWS**2
    passes = settings.epochs * steps * settings.layers * directions
    return passes, cells.is_custom(settings.cell), cells.gates(settings.cell) * settings.hidden_units


class ProgressBoard:
    """A row per training, in their order.

    Args:
        jobs: the jobs; empty if they are not known in advance: each then gets its row when it starts, and the total
            time is not estimated.
        count: number of jobs at a time.
    """

    def __init__(self, jobs: Sequence[Job], count: int) -> None:
        self._rows: dict[Job, Progress] = {}
        self._started: dict[Job, float] = {}
        self._alike: dict[Settings, list[Progress]] = defaultdict(list)  # rows of one configuration
        self._epoch_seconds: dict[Settings, list[float]] = defaultdict(list)
        self._count, self._all_known = count, bool(jobs)
        for job in jobs:
            self._add(job)

    def _add(self, job: Job) -> None:
        row = self._rows[job] = Progress(name=job.name, epochs=job.settings.epochs)
        self._alike[replace(job.settings, seed=0)].append(row)

    @property
    def rows(self) -> list[Progress]:
        """The progress of each training."""
        return list(self._rows.values())

    @property
    def left(self) -> float | None:
        """The seconds until all have ended; None until each configuration has finished an epoch."""
        left = [row.left for row in self.rows if row.left is not None]
        return sum(left) / self._count if self._all_known and len(left) == len(self._rows) else None

    def update(self, event: Event) -> None:
        """Enter an event."""
        now = time.monotonic()
        match event:
            case Started(job):
                self._started[job] = now
                if job not in self._rows:
                    self._add(job)
                self._rows[job].state = "starts"
            case Scheduled(job, machine):
                self._rows[job].machine = machine
            case Rescheduled(job):
                self._rows[job].state, self._rows[job].machine = "moves: its node was lost", ""
            case Message(job, EpochRecord() as record):
                self._rows[job].record = record
                self._estimate(job, record)
            case Message(job, message):
                self._rows[job].state = message.state if isinstance(message, Opened) else str(message)
            case Finished(job) | Failed(job):
                self._end(event)
        for job, started in self._started.items():
            self._rows[job].seconds = now - started

    def _end(self, event: Finished | Failed) -> None:
        row = self._rows[event.job]
        row.machine, row.left = "", 0.0
        del self._started[event.job]
        if isinstance(event, Failed):
            row.state = "failed"
        elif event.result.pruned:
            row.state = PRUNED
        elif row.state not in REUSED:
            row.state = "finished"

    def _estimate(self, job: Job, record: EpochRecord) -> None:
        """Estimate the remaining seconds of a run, and of the runs that differ only by their seed."""
        kind = replace(job.settings, seed=0)
        self._epoch_seconds[kind].append(record.epoch_seconds)
        seconds = statistics.median(self._epoch_seconds[kind])
        for row in self._alike[kind]:
            if row.left != 0.0:
                row.left = max(EVALUATION, seconds * (row.epochs - (row.record.epoch if row.record else 0)))
