"""How far trainings side by side are, from the events of their executor."""

import statistics
import time
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.execution import worker_pool
from pipeline.execution.job import PRUNED, TAKEN_OVER, Job, Opened
from pipeline.progress import Progress
from pipeline.records import EpochRecord
from pipeline.settings import Settings

EVALUATION = 1.0
"""Seconds that a training takes at least as long as it has not ended: its evaluation may be under way."""


@dataclass
class _Kind:
    """Trainings that take equally long, and the seconds that their epochs took so far, in order."""

    jobs: list[Job] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    @property
    def pace(self) -> float:
        """The median of the seconds of an epoch; of two in the middle their mean."""
        middle = len(self.paces) // 2
        return statistics.fmean(self.paces[middle - (len(self.paces) + 1) % 2 : middle + 1])


class Board:
    """A row per job, in their order.

    Args:
        jobs: the trainings; none where it shows only in the course of time which they are: then each gets its row when
            it begins, and nobody can say when all will have ended.
        count: of those that run at once.
    """

    def __init__(self, jobs: Sequence[Job], count: int) -> None:
        self._rows: dict[Job, Progress] = {}
        self._kinds: dict[Settings, _Kind] = {}
        for job in jobs:
            self._add(job)
        self._all_known = bool(jobs)
        self._count = count
        self._began: dict[Job, float] = {}
        self._ended: set[Job] = set()

    def _add(self, job: Job) -> None:
        self._rows[job] = Progress(name=job.name, epochs=job.settings.epochs)
        self._kinds.setdefault(_kind(job), _Kind()).jobs.append(job)

    @property
    def rows(self) -> list[Progress]:
        """How far each training is."""
        return list(self._rows.values())

    @property
    def left(self) -> float | None:
        """The seconds until all have ended; None until each kind of training has shown its pace."""
        known = [row.left for row in self.rows if row.left is not None]
        return sum(known) / self._count if self._all_known and len(known) == len(self._rows) else None

    def take(self, event: worker_pool.Event) -> None:
        """Enter what has happened."""
        now = time.monotonic()
        if isinstance(event, worker_pool.Said):
            self._hear(event.job, event.message)
        elif isinstance(event, worker_pool.Started):
            self._began[event.job] = now
            if event.job not in self._rows:
                self._add(event.job)
                self._rows[event.job].left = self._left(event.job, self._kinds[_kind(event.job)])
            self._rows[event.job].state = "starts"
        elif isinstance(event, worker_pool.Placed):
            self._rows[event.job].machine = event.machine
        elif isinstance(event, worker_pool.Moved):
            self._rows[event.job].state, self._rows[event.job].machine = "moves: its node was lost", ""
        elif not isinstance(event, worker_pool.Waited):
            self._end(event)
        for job, began in self._began.items():
            self._rows[job].seconds = now - began

    def _hear(self, job: Job, message: object) -> None:
        row = self._rows[job]
        if isinstance(message, EpochRecord):
            row.record = message
            kind = self._kinds[_kind(job)]
            insort(kind.paces, message.epoch_seconds)
            for each in kind.jobs:
                self._rows[each].left = self._left(each, kind)
        else:
            row.state = message.state if isinstance(message, Opened) else str(message)

    def _end(self, event: worker_pool.Finished | worker_pool.Failed) -> None:
        row = self._rows[event.job]
        row.machine, row.left = "", 0.0
        del self._began[event.job]
        self._ended.add(event.job)
        if isinstance(event, worker_pool.Failed):
            row.state = "failed"
        elif event.result.pruned:
            row.state = PRUNED
        elif row.state not in TAKEN_OVER:
            row.state = "ended"

    def _left(self, job: Job, kind: _Kind) -> float | None:
        row = self._rows[job]
        if job in self._ended:
            return 0.0
        if not kind.paces:
            return None
        epochs = row.epochs - (row.record.epoch if row.record else 0)
        return max(EVALUATION, kind.pace * epochs)


def _kind(job: Job) -> Settings:
    """Return what jobs share that take equally long."""
    return replace(job.settings, seed=0)
