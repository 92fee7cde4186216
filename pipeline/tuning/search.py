"""Search for better parameters: trials that learn from one another, then a test of the best one over several seeds.

    pipeline search --cell gru --trials 30 --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256

Optuna proposes trials (tree-structured Parzen estimator); the worse ones are stopped (asynchronous successive halving).
Both depend only on the trials so far, which are read from their runs: MLflow is the only store. The sampler's seed is a
function of the search's seed and the trial's number, so an interrupted search continues with the same trials as without
the interruption. Trials are chosen on validation alone and never see the test images.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from pipeline import disk, epochs
from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import TrainingError
from pipeline.execution import comparison_run, job
from pipeline.execution.executors import Event, Executor, open_executor
from pipeline.model import preflight
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import connection, promotion, schema, store
from pipeline.training import identity
from pipeline.tuning import report, space
from pipeline.tuning.report import Reached, SearchResult, Trial
from pipeline.tuning.space import Parameters, Space, range_ends, range_text

TRIALS, MOST_TRIALS = 30, 200
"""The maximum number of trials without and with a time limit, if none is given."""

FAILURES = 3
"""Maximum number of successive failures: if there are more, the parameters are not the reason."""

REDUCTION = 3
"""After a ninth and after a third of the epochs, one of so many trials continues (Li et al. 2020, arXiv:1810.05934)."""


def search(
    given: Mapping[str, Any],
    reporter: Reporter,
    *,
    ranges: Sequence[str] | None,
    trials: int | None,
    seconds: float | None,
    confirm: int,
    workers: int | None,
    on: str,
    register: str | None,
) -> str:
    """Search, confirm the winner, report, and return the id of the search's run; the arguments are the options.

    Raises:
        TrainingError: no trial is complete, or several in a row have failed.
        UsageError: the search space does not fit the data or the memory.
    """
    chosen = space.of(given, ranges or [])
    promotion.check_name(register)
    connection.connect(reporter.note, writes=True)
    preflight.check_cells([chosen.base(cell) for cell in chosen.cells])
    limit = trials or (TRIALS if seconds is None else MOST_TRIALS)
    with open_executor(on) as executor:
        data, _ = prepare.prepared(chosen.base(), reporter)
        chosen = replace(chosen, data=data)
        check(chosen, data)
        workers = workers or executor.default_workers(limit)
        limits = {"trials": limit, "seconds": seconds, "confirm": confirm}
        with _opened(chosen, data, limits, remote=executor.remote) as parent:
            study = Study(chosen, data, search=parent, limit=limit, seconds=seconds)
            study.run(reporter, workers=workers, executor=executor)
            result = SearchResult(space=chosen, data=data, trials=study.trials, winner=study.winner())
            report.log_winner(parent, result)
            if again := _confirmation(result, confirm):
                groups = comparison_run.train(again, data, reporter, parent=parent, count=workers, executor=executor)
                result.confirm(groups)
            report.report(parent, result, reporter)
    best = result.winner.run_id
    return promotion.conclude(reporter, parent, "the search and its report", register=register, best=best)


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


def _opened(space: Space, data: DataSet, limits: Mapping[str, object], *, remote: bool) -> AbstractContextManager[str]:
    """Open the run of a search, or resume the same search if it was interrupted; the context is its ID.

    Searches are the same if they have the same ranges and start; the limits may differ.
    """
    texts = {name: range_text(each) for name, each in space.ranges.items()}
    starts = [space.base(cell) for cell in space.cells]
    own = disk.text_digest(
        "search",
        *(identity.fingerprint(start, data) for start in starts),
        *(f"{name}={text}" for name, text in texts.items()),
    )
    given = {name: value for name, value in limits.items() if value is not None}
    return comparison_run.opened_as(
        schema.SEARCHED,
        identity.parent_name("search", starts, data.name),
        own,
        data,
        identity.parameters(starts[0], data) | texts | given,
        data_dir=starts[0].data_dir,
        remote=remote,
    )


def _confirmation(result: SearchResult, seeds: int) -> list[Settings]:
    """Return the runs that confirm the winner: winner and start with new seeds; none if the winner is the start."""
    if result.is_start:
        return []
    return [
        result.space.settings({**parameters, "seed": result.base.seed + number})
        for parameters in (result.winner.parameters, {"cell": result.base.cell})
        for number in range(1, seeds + 1)
    ]


class Study:
    """The trials of a search, with those from before an interruption.

    Args:
        space: the search space.
        data: the data of all trials.
        search: the id of the search's run.
        limit: maximum number of trials.
        seconds: time limit for starting new trials; None: no limit.
    """

    def __init__(self, space: Space, data: DataSet, *, search: str, limit: int, seconds: float | None = None) -> None:
        self._space, self._data, self._search, self._limit = space, data, search, limit
        self._end = time.monotonic() + (seconds or math.inf)
        self._base, self._failures = space.base(), 0
        self._active: dict[str, Trial] = {}  # on a cluster, the trial that trains, by its fingerprint
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        run = store.get_run(search)
        self._has_winner = schema.BEST_TRIAL in run.tags  # it was interrupted while the winner was confirmed
        found = (Trial(number=number, **content) for number, content in run.trials.items())
        self._trials = {trial.name: trial for trial in found}
        for trial in self.trials:
            trial.refresh()

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return sorted(self._trials.values(), key=lambda trial: trial.number)

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

    def run(self, reporter: Reporter, *, workers: int, executor: Executor) -> None:
        """Run the remaining trials, ``workers`` in parallel: the interrupted ones, then new ones."""
        if self._has_winner:
            return
        trials = chain(self.trials, self._proposed())
        todo = ((each.name, self._space.settings(each.parameters)) for each in trials if each.state == "running")
        job.run_jobs(
            todo,
            self._data,
            reporter,
            parent=self._search,
            count=workers,
            executor=executor,
            evaluate=False,
            take=self._take,
        )

    def _proposed(self) -> Iterator[Trial]:
        """Yield new trials as long as the limits allow; the first ones are the start of each cell."""
        cells = self._space.cells
        while len(self._trials) < self._limit and time.monotonic() < self._end and self._failures < FAILURES:
            number = min({*range(1, self._limit + 1)} - {trial.number for trial in self.trials})
            start = self._space.start(cells[number - 1]) if number <= len(cells) else None
            trial = Trial(number=number, parameters=start or self._sampled(number))
            self._trials[trial.name] = trial
            yield trial

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
        if event.kind == "tick":
            return True
        trial = self._trials[event.job.name]
        match event.kind, event.content:
            case "message", job.Opened(run_id=run_id, state=state):
                trial.run_id, trial.reused = run_id, state == job.REUSED
                content = {"run_id": run_id, "reused": trial.reused, "parameters": dict(trial.parameters)}
                store.log_tags(self._search, {f"{schema.TRIAL}{trial.number}": json.dumps(content)})
            case "message", job.LOOKS:  # waits for another trial that trains the same
                if self._active.setdefault(event.job.fingerprint, trial).state != "running":
                    self._active[event.job.fingerprint] = trial
                return self._active[event.job.fingerprint] is trial
            case "message", EpochRecord() as record:
                if record.epoch not in {each.epoch for each in trial.history}:  # a resumed trial repeats its last epoch
                    trial.history.append(Reached(record.epoch, record.val_cost, record.val_accuracy))
                return not self._is_behind(trial, record.epoch)
            case "finished", _:
                trial.refresh()
                self._failures = 0
            case "failed", reason:
                trial.state, trial.reason = "failed", reason
                self._failures += 1
        return True
