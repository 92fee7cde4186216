"""The progress of many runs, computed from the events of their executor."""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pipeline.execution.job import PRUNED, REUSED, Job, Opened
from pipeline.execution.worker_pool import Event, Failed, Finished, Message, Rescheduled, Scheduled, Started
from pipeline.progress import Progress
from pipeline.records import EpochRecord
from pipeline.settings import Settings

EVALUATION = 1.0
"""Seconds that a training needs at least until it has ended: its evaluation may still run."""


class ProgressBoard:
    """A row per training, in their order.

    Args:
        jobs: the trainings; empty if they are not known in advance: each then gets its row when it starts, and no time
            is estimated for all.
        count: number of trainings at a time.
    """

    def __init__(self, jobs: Sequence[Job], count: int) -> None:
        self._rows: dict[Job, Progress] = {}
        self._alike: dict[Settings, list[Job]] = defaultdict(list)  # but for their seeds
        self._epoch_seconds: dict[Settings, list[float]] = defaultdict(list)
        self._started: dict[Job, float] = {}
        self._count, self._all_known = count, bool(jobs)
        for job in jobs:
            self._add(job)

    def _add(self, job: Job) -> None:
        self._rows[job] = Progress(name=job.name, epochs=job.settings.epochs)
        self._alike[replace(job.settings, seed=0)].append(job)
        self._estimate(job)

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
                self._epoch_seconds[replace(job.settings, seed=0)].append(record.epoch_seconds)
                self._estimate(job)
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

    def _estimate(self, job: Job) -> None:
        """Estimate the seconds that are left of a training, and of those that differ from it by their seed alone."""
        kind = replace(job.settings, seed=0)
        if not self._epoch_seconds[kind]:
            return
        seconds = statistics.median(self._epoch_seconds[kind])
        for row in [self._rows[each] for each in self._alike[kind]]:
            if row.left != 0.0:
                row.left = max(EVALUATION, seconds * (row.epochs - (row.record.epoch if row.record else 0)))
