"""A search under way: which trial comes next, which goes on, and what came of each."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution import job, scheduler, worker_pool
from pipeline.execution.job import Job, Opened
from pipeline.execution.progress_board import Board
from pipeline.execution.scheduler import Executor
from pipeline.progress import Reporter
from pipeline.records import EpochRecord
from pipeline.tracking import schema, store
from pipeline.tuning import halving, sampling, trials
from pipeline.tuning.space import Space
from pipeline.tuning.trials import Trial

FAILURES = 3
"""Trials in a row that may fail: more of them say that something else is wrong than their parameters."""


class Study:
    """The trials of a search, those of before it was cut off among them.

    Args:
        space: what there is to choose from.
        data: what is trained on.
        parent: the id of the run of the search.
        workers: trials at a time.
        limit: of trials in all.
        executor: that does them.
        seconds: after which none begins any more; None: whenever there is room.
    """

    def __init__(
        self,
        space: Space,
        data: DataSet,
        *,
        parent: str,
        workers: int,
        limit: int,
        seconds: float | None,
        executor: Executor,
    ) -> None:
        self._executor = executor
        self._space, self._data, self._parent, self._workers = space, data, parent, workers
        self._has_winner = schema.BEST_TRIAL in store.get_run(parent).tags  # and was cut off while it was confirmed
        self._limit, self._end = limit, time.monotonic() + seconds if seconds else None
        self._trials = {trial.number: trial for trial in trials.kept(parent)}
        self._numbers: dict[Job, int] = {}
        self._proposed: set[int] = set()  # by this process
        self._failures = 0

    @property
    def trials(self) -> list[Trial]:
        """All of them, by their numbers."""
        return [self._trials[number] for number in sorted(self._trials)]

    def winner(self) -> Trial:
        """Return the best trial.

        Raises:
            TrainingError: none has ended well, or the last ones have all failed.
        """
        leading = trials.best(self.trials)
        failed = [trial for trial in self.trials if trial.state == "failed"]
        if leading is None or self._failures >= FAILURES:
            reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in failed[-FAILURES:])
            raise TrainingError(f"{len(failed)} of {len(self._trials)} trials failed. {reasons}")
        return leading

    def run(self, reporter: Reporter) -> None:
        """Do what is left to do."""
        board, workers = Board((), self._workers), self._workers
        scheduler.follow(
            self._jobs(),
            self._data,
            board,
            reporter,
            self._take,
            count=workers,
            executor=self._executor,
            goes_on=self._goes_on,
        )

    def _jobs(self) -> Iterator[Job]:
        """Yield what was cut off, then new trials as long as there is room for them."""
        if self._has_winner:
            return
        for trial in self.trials:
            if trial.state == "running":
                yield self._job(trial)
        while self._has_room():
            number = next(number for number in count(1) if number not in self._trials)
            seed = self._space.base().seed
            parameters = sampling.proposed(self._space, self.trials, number=number, seed=seed)
            self._trials[number] = Trial(number=number, parameters=parameters)
            self._proposed.add(number)
            yield self._job(self._trials[number])

    def _has_room(self) -> bool:
        in_time = self._end is None or time.monotonic() < self._end
        return len(self._trials) < self._limit and in_time and self._failures < FAILURES

    def _job(self, trial: Trial) -> Job:
        settings, cores = self._space.settings(trial.parameters), self._executor.cores(self._workers)
        own = Job.of(settings, self._data, name=trial.name, parent=self._parent, cores=cores, evaluate=False)
        self._numbers[own] = trial.number
        return own

    def _goes_on(self, of: Job, message: object) -> bool:
        """Enter an epoch, and answer whether there is to be another."""
        if not isinstance(message, EpochRecord):
            return True
        trial = self._trials[self._numbers[of]]
        accuracies = {**trial.accuracies, message.epoch: message.val_accuracy}
        costs = {**trial.costs, message.epoch: message.val_cost}
        self._trials[trial.number] = replace(trial, accuracies=accuracies, costs=costs)
        reached = {epoch: value for epoch, value in accuracies.items() if epoch <= message.epoch}
        others = [other.accuracies for other in self.trials if other.number != trial.number]
        return halving.goes_on(reached, others, of.settings.epochs)

    def _take(self, event: worker_pool.Event) -> None:
        """Enter what has happened."""
        if isinstance(event, worker_pool.Waited):
            return
        trial = self._trials[self._numbers[event.job]]
        if isinstance(event, worker_pool.Said) and isinstance(event.message, Opened):
            taken_over = event.message.state == job.DONE_ELSEWHERE
            trial = replace(trial, run_id=event.message.run_id, taken_over=taken_over)
            trials.keep(self._parent, trial)
        elif isinstance(event, worker_pool.Finished):
            trial, self._failures = trials.of_run(trial), 0
        elif isinstance(event, worker_pool.Failed):
            trial = replace(trial, state="failed", reason=event.reason)
            self._failures += trial.number in self._proposed  # those of before are tried once more, and may fail again
        self._trials[trial.number] = trial
        if isinstance(event, worker_pool.Finished):
            self._log_progress()

    def _log_progress(self) -> None:
        """Log the best accuracy so far by the number of trials that have ended."""
        ended = [trial for trial in self.trials if trial.state != "running"]
        if leading := trials.best(ended):
            store.log_metrics(self._parent, {schema.BEST_VAL_ACCURACY: leading.value}, step=len(ended))
