"""Run jobs with an executor, and follow them: their runs and their progress.

    with executors.open_executor("ray") as executor: ...

A further kind of executor, such as one for Dask, is a module like ``ray_executor.py`` and a line in
:func:`open_executor`.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec

from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import UsageError
from pipeline.execution import job as jobs
from pipeline.execution.job import PRUNED, REUSED, Job, Opened
from pipeline.execution.worker_pool import (
    Event,
    Executor,
    Failed,
    Finished,
    Message,
    Rescheduled,
    ShouldContinue,
    Started,
    Tick,
    always,
)
from pipeline.progress import Progress, Reporter
from pipeline.settings import Settings
from pipeline.tracking import lifecycle

LOCAL = "local"

EVALUATION = 1.0
"""Minimum number of seconds that a run in its last epoch still needs: it has to be evaluated."""


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
            raise UsageError("on: ray needs the package Ray, which is not installed. Try pip install -e '.[ray]'.")
        from pipeline.execution import ray_executor

        with ray_executor.connected(on, tracks=tracks) as executor:
            yield executor
    else:
        raise UsageError(f"on: must be local, ray or an address such as ray://HOST:10001; got {on!r}.")


def run_jobs(
    todo: Iterable[Job],
    data: DataSet,
    reporter: Reporter,
    *,
    count: int,
    executor: Executor,
    take: Callable[[Event], object] = lambda event: None,
    answer: ShouldContinue = always,
) -> dict[Job, Finished | Failed]:
    """Do the jobs, ``count`` at a time; return the last event of each. End runs whose processes could not.

    Args:
        todo: the jobs, see :meth:`Executor.run`; if they are a sequence, all are shown from the start.
        data: their data.
        reporter: shows the progress.
        count: number of jobs at a time.
        executor: runs the jobs.
        take: receives all events.
        answer: answers their messages.
    """
    ended, run_ids = dict[Job, Finished | Failed](), dict[Job, str]()  # run_ids: of jobs that have opened a run
    board = ProgressBoard(todo if isinstance(todo, Sequence) else (), count)
    try:
        with closing(
            executor.run(executor.prepared(jobs.train, data.folder), todo, count=count, answer=answer)
        ) as events:
            for event in events:
                _follow(event, run_ids, ended)
                take(event)
                board.update(event)
                reporter.trainings(board.rows, board.left)
    except KeyboardInterrupt:
        for run_id in run_ids.values():  # their processes took too long to end them
            with lifecycle.best_effort():
                lifecycle.end(run_id, "KILLED", lifecycle.STOPPED)
        raise
    return ended


def _follow(event: Event, run_ids: dict[Job, str], ended: dict[Job, Finished | Failed]) -> None:
    """Note which runs are open and which jobs have ended; end the run of a failed one: its process may have died."""
    match event:
        case Message(job, Opened(run_id=run_id)):
            run_ids[job] = run_id
        case Finished(job) | Failed(job):
            ended[job], run_id = event, run_ids.pop(job, "")
            if run_id and isinstance(event, Failed):
                lifecycle.end(run_id, "FAILED", event.reason)


class ProgressBoard:
    """The progress of jobs, a row for each, in their order.

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
            self._row(job)

    def _row(self, job: Job) -> Progress:
        if job not in self._rows:
            self._rows[job] = Progress(name=job.name, epochs=job.settings.epochs)
            self._alike[replace(job.settings, seed=0)].append(self._rows[job])
        return self._rows[job]

    @property
    def rows(self) -> list[Progress]:
        """The progress of each job."""
        return list(self._rows.values())

    @property
    def left(self) -> float | None:
        """The seconds until all have ended; None until each configuration has finished an epoch."""
        left = [row.left for row in self.rows if row.left is not None]
        return sum(left) / self._count if self._all_known and len(left) == len(self._rows) else None

    def update(self, event: Event) -> None:
        """Enter an event."""
        if not isinstance(event, Tick):
            self._enter(event, self._row(event.job))
        for job, started in self._started.items():
            self._rows[job].seconds = time.monotonic() - started

    def _enter(self, event: Started | Message | Finished | Failed | Rescheduled, row: Progress) -> None:
        match event:
            case Started(job, machine):
                self._started.setdefault(job, time.monotonic())
                row.state, row.machine = "starts", machine
            case Message(job, EpochRecord() as record):
                row.record = record
                self._estimate(job, record)
            case Message(_, message):
                row.state = message.state if isinstance(message, Opened) else str(message)
            case Rescheduled():
                row.state, row.machine = "restarting: its node was lost", ""
            case Finished(job) | Failed(job):
                self._started.pop(job, None)
                row.machine, row.left = "", 0.0
                if isinstance(event, Failed):
                    row.state = "failed"
                elif row.state not in REUSED:
                    row.state = PRUNED if event.result.pruned else "finished"

    def _estimate(self, job: Job, record: EpochRecord) -> None:
        """Estimate the remaining seconds of a run, and of the runs that differ only by their seed."""
        kind = replace(job.settings, seed=0)
        self._epoch_seconds[kind].append(record.epoch_seconds)
        seconds = statistics.median(self._epoch_seconds[kind])
        for row in self._alike[kind]:
            if row.left != 0.0:
                row.left = max(EVALUATION, seconds * (row.epochs - (row.record.epoch if row.record else 0)))
