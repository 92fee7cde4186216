"""A search in progress: its MLflow run and limits; propose trials, stop bad ones, collect results.

Optuna proposes trials (tree-structured Parzen estimator); the worse ones are stopped (asynchronous successive halving).
Both depend only on the trials so far, which are read from their runs: MLflow is the only store. The sampler's seed is a
function of the search's seed and the trial's number, so an interrupted search continues with the same trials as without
the interruption.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain, combinations, count, product
from typing import Literal, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from pipeline import disk, epochs
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import TrainingError
from pipeline.execution import comparison_run, job
from pipeline.execution.job import Job, Opened
from pipeline.execution.worker_pool import Event, Executor, Failed, Finished, Message, Tick
from pipeline.model import preflight
from pipeline.progress import Reporter
from pipeline.tracking import schema, store
from pipeline.training import identity
from pipeline.tuning.space import Parameters, Space, range_ends, range_text

TRIALS, MOST_TRIALS = 30, 200
"""The maximum number of trials without and with a time limit, if none is given."""

FAILURES = 3
"""Maximum number of successive failures: if there are more, the parameters are not the reason."""

REDUCTION = 3
"""After a ninth and after a third of the epochs, one of so many trials continues (Li et al. 2020, arXiv:1810.05934)."""

State = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of a search.

    Attributes:
        trials: maximum number of trials; None: as many as the time allows.
        seconds: time limit for starting new trials; None: no limit.
        confirm: number of new seeds for the winner and the start.
        workers: number of runs in parallel; None: as many as the machine allows.
    """

    trials: int | None = None
    seconds: float | None = None
    confirm: int = 3
    workers: int | None = None

    @property
    def limit(self) -> int:
        """Maximum number of trials."""
        return self.trials or (TRIALS if self.seconds is None else MOST_TRIALS)

    def seeds(self, seed: int) -> list[int]:
        """Return the seeds of the confirmation; no trial has them."""
        return list(range(seed + 1, seed + 1 + self.confirm))


def check(space: Space, data: DataSet) -> None:
    """Check that the ends of every two ranges, in all combinations, fit together, the data and the memory.

    Raises:
        UsageError: they do not.
    """
    for cell in space.cells:
        ends = {name: range_ends(each) for name, each in space.ranges.items()} | {"cell": (cell,)}
        for first, second in combinations(ends, 2):
            for one, other in product(ends[first], ends[second]):
                settings = space.settings({"cell": cell, first: one, second: other})
                identity.parameters(settings, data)
                preflight.check_memory(settings, data)


def opened(space: Space, data: DataSet, budget: Budget, *, remote: bool) -> AbstractContextManager[str]:
    """Open the run of a search, or resume the same search if it was interrupted; the context is its ID.

    Searches are the same if they have the same ranges and start; the limits may differ.
    """
    base, texts = space.base(), {name: range_text(each) for name, each in space.ranges.items()}
    bases = [identity.fingerprint(space.base(cell), data) for cell in space.cells]
    own = disk.text_digest("search", *bases, *(f"{name}={text}" for name, text in texts.items()))
    limits = {"trials": budget.limit, "seconds": budget.seconds, "confirm": budget.confirm}
    given = {name: value for name, value in limits.items() if value is not None}
    parameters = identity.parameters(base, data) | texts | given
    name = identity.search_name(space.cells, data.name, base.recipe)
    return comparison_run.opened_as(schema.SEARCHED, name, own, data, parameters, data_dir=base.data_dir, remote=remote)


# --- the trials -------------------------------------------------------------------------------------------------------


class Reached(NamedTuple):
    """The results of a trial on the validation data after an epoch: cost in nats, accuracy as a fraction."""

    epoch: int
    val_cost: float
    val_accuracy: float


@dataclass(kw_only=True)
class Trial:
    """A trial.

    Attributes:
        number: its number, from 1.
        parameters: its parameters.
        state: "running" includes interrupted ones.
        history: an entry per epoch.
        run_id: the id of its MLflow run; empty if none was opened yet.
        reason: the reason if it failed.
        reused: whether it was trained outside this search.
        is_new: whether this process has proposed it.
    """

    number: int
    parameters: Parameters
    state: State = "running"
    history: list[Reached] = field(default_factory=list)
    run_id: str = ""
    reason: str = ""
    reused: bool = False
    is_new: bool = False

    @property
    def name(self) -> str:
        """Name of its run, such as ``gru-t7``."""
        return f"{self.parameters['cell']}-t{self.number}"

    @property
    def kept(self) -> Reached:
        """The epoch whose weights are kept."""
        return epochs.best(self.history)

    def best_until(self, epoch: int) -> float:
        """Return the best accuracy up to an epoch."""
        return max(each.val_accuracy for each in self.history if each.epoch <= epoch)

    def refresh(self) -> None:
        """Read state and history from its run."""
        run = store.get_run(self.run_id)
        if run.status == "FINISHED" and (run.is_pruned or run.is_trained):
            self.state = "pruned" if run.is_pruned else "complete"
        accuracies, costs = (store.history_of(run.run_id, metric) for metric in (schema.VAL_ACCURACY, schema.VAL_COST))
        self.history = [Reached(epoch, costs[epoch], accuracies[epoch]) for epoch in sorted(accuracies)]


class Study:
    """The trials of a search, with those from before an interruption.

    Args:
        space: the search space.
        data: the data of all trials.
        search: the id of the search's run.
        budget: the limits.
        executor: runs the trials.
    """

    def __init__(self, space: Space, data: DataSet, *, search: str, budget: Budget, executor: Executor) -> None:
        self._space, self._data, self._search, self._budget, self._executor = space, data, search, budget, executor
        self._end = time.monotonic() + (budget.seconds or math.inf)
        self._base = space.base()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._jobs: dict[Job, Trial] = {}
        self._failures = 0
        run = store.get_run(search)
        self._has_winner = schema.BEST_TRIAL in run.tags  # it was interrupted while the winner was confirmed
        self._trials = {number: Trial(number=number, **content) for number, content in sorted(run.trials.items())}
        for trial in self._trials.values():
            trial.refresh()

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    def winner(self) -> Trial:
        """Return the best of the complete trials, by the rule that also decides which epoch is kept.

        Raises:
            TrainingError: none is complete, or the last ones have all failed.
        """
        complete = [trial for trial in self.trials if trial.state == "complete"]
        if not complete or self._failures >= FAILURES:
            failed = [trial for trial in self.trials if trial.state == "failed"]
            reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in failed[-FAILURES:])
            raise TrainingError(f"{len(failed)} of {len(self._trials)} trials failed. {reasons}")
        kept = epochs.best([trial.kept for trial in complete])
        return next(trial for trial in complete if trial.kept == kept)

    def run(self, reporter: Reporter, *, workers: int) -> None:
        """Run the remaining trials, ``workers`` in parallel."""
        todo = self._todo(self._executor.cores(workers))
        job.run_jobs(todo, self._data, reporter, count=workers, executor=self._executor, take=self._take)

    def _todo(self, cores: int) -> Iterator[Job]:
        """Yield the interrupted trials, then new ones as long as the limits allow."""
        if self._has_winner:
            return
        for trial in chain(self.trials, self._proposed()):
            if trial.state == "running":
                settings = self._space.settings(trial.parameters)
                own = Job.of(settings, self._data, name=trial.name, parent=self._search, cores=cores, evaluate=False)
                self._jobs[own] = trial
                yield own

    def _proposed(self) -> Iterator[Trial]:
        """Yield new trials as long as the limits allow; the first ones are the start of each cell."""
        cells = self._space.cells
        while len(self._trials) < self._budget.limit and time.monotonic() < self._end and self._failures < FAILURES:
            number = next(number for number in count(1) if number not in self._trials)
            start = self._space.start(cells[number - 1]) if number <= len(cells) else None
            self._trials[number] = Trial(number=number, parameters=start or self._sampled(number), is_new=True)
            yield self._trials[number]

    def _sampled(self, number: int) -> Parameters:
        """Return the parameters that Optuna proposes, rounded.

        A failed trial counts as one that was stopped, so that others avoid it.
        """
        seed = int(np.random.SeedSequence([self._base.seed, number]).generate_state(1)[0])
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for trial in (each for each in self.trials if each.state != "running"):
            is_complete = trial.state == "complete"
            ended = create_trial(
                state=TrialState.COMPLETE if is_complete else TrialState.PRUNED,
                value=trial.kept.val_accuracy if is_complete else None,
                params=dict(trial.parameters),
                distributions={**self._space.ranges},
                intermediate_values={each.epoch: trial.best_until(each.epoch) for each in trial.history},
            )
            study.add_trial(ended)
        return self._space.rounded(study.ask({**self._space.ranges}).params)

    def _is_behind(self, trial: Trial, epoch: int) -> bool:
        """Return whether a trial stops after an epoch: it is not in the best third of all that have got so far."""
        first = math.ceil(self._base.epochs / REDUCTION**2)
        if epoch not in (first, first * REDUCTION) or epoch >= self._base.epochs:
            return False
        reached = sorted(each.best_until(epoch) for each in self.trials if len(each.history) >= epoch)
        return trial.best_until(epoch) < reached[-max(len(reached) // REDUCTION, 1)]

    def _take(self, event: Event) -> bool:
        """Enter an event of a trial; return whether the trial continues."""
        if isinstance(event, Tick):
            return True
        trial = self._jobs[event.job]
        match event:
            case Message(_, Opened(run_id=run_id, state=state)):
                trial.run_id, trial.reused = run_id, state == job.DONE_ELSEWHERE
                content = {"run_id": run_id, "reused": trial.reused, "parameters": dict(trial.parameters)}
                store.log_tags(self._search, {f"{schema.TRIAL}{trial.number}": json.dumps(content)})
            case Message(own, job.LOOKS):  # waits for an earlier trial that trains the same
                same = [each for other, each in self._jobs.items() if other.fingerprint == own.fingerprint]
                return not any(each.state == "running" and each.number < trial.number for each in same)
            case Message(_, EpochRecord() as record):
                if record.epoch not in {each.epoch for each in trial.history}:  # a resumed trial repeats its last epoch
                    trial.history.append(Reached(record.epoch, record.val_cost, record.val_accuracy))
                return not self._is_behind(trial, record.epoch)
            case Finished():
                trial.refresh()
                self._failures = 0
            case Failed(_, reason):
                trial.state, trial.reason = "failed", reason
                self._failures += trial.is_new  # others are tried once more after an interruption, and may fail again
        return True
