"""A search in progress: which trial comes next, which continues, and the result of each.

Optuna proposes trials (tree-structured Parzen estimator) and stops them (asynchronous successive halving). Its study is
in memory and rebuilt from the trials' runs: MLflow is the only store. The sampler's seed is a function of the search's
seed and the trial's number, so an interrupted search continues with the trials that it would have had.
"""

import math
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
import optuna
from optuna.trial import TrialState

from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution import job, scheduler, worker_pool
from pipeline.execution.executors import Executor
from pipeline.execution.job import Job, Opened
from pipeline.execution.progress_board import ProgressBoard
from pipeline.progress import Reporter
from pipeline.records import EpochRecord
from pipeline.tracking import schema, store
from pipeline.tuning import trials
from pipeline.tuning.space import Parameters, Space
from pipeline.tuning.trials import Reached, Trial

FAILURES = 3
"""Trials in a row that may fail: more of them have another reason than their parameters."""

REDUCTION = 3
"""After a ninth and after a third of the epochs, one of so many trials continues (Li et al. 2020, arXiv:1810.05934)."""


class Study:
    """The trials of a search, with those from before an interruption.

    Args:
        space: the search space.
        data: what is trained on.
        search: the id of the search's run.
        workers: number of trials in parallel.
        limit: number of trials in all.
        seconds: time in which trials may start; None: no limit.
        executor: runs them.
    """

    def __init__(
        self,
        space: Space,
        data: DataSet,
        *,
        search: str,
        workers: int,
        limit: int,
        seconds: float | None,
        executor: Executor,
    ) -> None:
        self._space, self._data, self._search, self._executor = space, data, search, executor
        self._workers, self._limit = workers, limit
        self._end = time.monotonic() + seconds if seconds else math.inf
        self._epochs, self._seed = space.base().epochs, space.base().seed
        run = store.get_run(search)
        self._has_winner = schema.BEST_TRIAL in run.tags  # it was interrupted while the winner was confirmed
        self._study = _new_study(self._epochs)
        self._stopped: set[int] = set()
        self._new: set[int] = set()  # proposed by this process
        self._trials = trials.logged(run.trials)
        self._asked = {number: self._replayed(trial) for number, trial in self._trials.items()}
        self._jobs: dict[Job, Trial] = {}
        self._failures = 0

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    def winner(self) -> Trial:
        """Return the best trial.

        Raises:
            TrainingError: none is complete, or the last ones have all failed.
        """
        best = trials.best(self.trials)
        failed = [trial for trial in self.trials if trial.state == "failed"]
        if best is None or self._failures >= FAILURES:
            reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in failed[-FAILURES:])
            raise TrainingError(f"{len(failed)} of {len(self._trials)} trials failed. {reasons}")
        return best

    def run(self, reporter: Reporter) -> None:
        """Run the trials that are left."""
        scheduler.run_jobs(
            self._todo(),
            self._data,
            ProgressBoard((), self._workers),
            reporter,
            self._take,
            count=self._workers,
            executor=self._executor,
            should_continue=self._should_continue,
        )

    def _todo(self) -> Iterator[Job]:
        """Yield the interrupted trials, then new ones as long as the limits allow."""
        if self._has_winner:
            return
        for trial in self.trials:
            if trial.state == "running":
                yield self._job(trial)
        while len(self._trials) < self._limit and time.monotonic() < self._end and self._failures < FAILURES:
            number = next(number for number in count(1) if number not in self._trials)
            self._new.add(number)
            trial = self._trials[number] = Trial(number=number, parameters=self._proposed(number))
            self._asked[number] = self._replayed(trial)
            yield self._job(trial)

    def _job(self, trial: Trial) -> Job:
        settings, cores = self._space.settings(trial.parameters), self._executor.cores(self._workers)
        own = Job.of(settings, self._data, name=trial.name, parent=self._search, cores=cores, evaluate=False)
        self._jobs[own] = trial
        return own

    def _proposed(self, number: int) -> Parameters:
        """Return the parameters of a new trial: the first ones are the start of each cell."""
        cells = self._space.cells
        if number <= len(cells) and (start := self._space.start(cells[number - 1])) is not None:
            return start
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        asked = self._study.ask()
        parameters = self._space.propose(asked)
        self._study.tell(asked, state=TrialState.FAIL)  # ignored from here on: what is trained has rounded values
        return parameters

    def _replayed(self, trial: Trial) -> optuna.Trial:
        """Enter a trial into the study, as far as it is; return Optuna's handle of it."""
        values, distributions = self._space.in_study(trial.parameters)
        self._study.enqueue_trial(values)
        asked = self._study.ask(distributions)
        for reached in trial.history:
            self._is_stopped(trial, asked, reached.epoch)
        self._tell(trial, asked)
        return asked

    def _is_stopped(self, trial: Trial, asked: optuna.Trial, epoch: int) -> bool:
        """Report the best accuracy up to an epoch; return whether the trial stops there."""
        asked.report(trial.best_until(epoch), epoch)
        if epoch < self._epochs and asked.should_prune():
            self._stopped.add(trial.number)
        return trial.number in self._stopped

    def _tell(self, trial: Trial, asked: optuna.Trial) -> None:
        """Tell the study that a trial has ended, if it has; a failed one counts as pruned, so that others avoid it."""
        if trial.state == "complete":
            self._study.tell(asked, trial.value)
        elif trial.state != "running":
            self._study.tell(asked, state=TrialState.PRUNED)

    def _should_continue(self, of: Job, message: object) -> bool:
        """Enter an epoch; return whether there is to be another."""
        if not isinstance(message, EpochRecord):
            return True
        trial = self._jobs[of]
        if message.epoch in {each.epoch for each in trial.history}:  # a resumed trial asks again about its last epoch
            return trial.number not in self._stopped
        trial.history.append(Reached(message.epoch, message.val_cost, message.val_accuracy))
        return not self._is_stopped(trial, self._asked[trial.number], message.epoch)

    def _take(self, event: worker_pool.Event) -> None:
        """Enter what has happened to a trial."""
        if isinstance(event, worker_pool.Tick):
            return
        trial = self._jobs[event.job]
        if isinstance(event, worker_pool.Message) and isinstance(event.message, Opened):
            trial.run_id, trial.reused = event.message.run_id, event.message.state == job.DONE_ELSEWHERE
            trials.log(self._search, trial)
        elif isinstance(event, worker_pool.Finished):
            trials.refresh(trial)
            self._failures = 0
        elif isinstance(event, worker_pool.Failed):
            trial.state, trial.reason = "failed", event.reason
            self._failures += trial.number in self._new  # earlier ones are tried once more, and may fail again
        if isinstance(event, worker_pool.Finished | worker_pool.Failed):
            self._tell(trial, self._asked[trial.number])
            self._log_progress()

    def _log_progress(self) -> None:
        """Log the best accuracy so far, by the number of trials that have ended."""
        if best := trials.best(self.trials):
            ended = sum(trial.state != "running" for trial in self.trials)
            store.log_metrics(self._search, {schema.BEST_VAL_ACCURACY: best.value}, step=ended)


def _new_study(epochs: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=math.ceil(epochs / REDUCTION**2), reduction_factor=REDUCTION
    )
    return optuna.create_study(direction="maximize", pruner=pruner)
