"""The parameters of the next trial, and which of them matter: what Optuna makes of the trials so far.

Each trial has a study and a sampler of its own: what is proposed is a function of the seed, the number of the trial
and the trials before it. So a search that was cut off goes on to the trials that it would have had.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from pipeline.tuning import halving
from pipeline.tuning.ranges import Choice, Range, Value
from pipeline.tuning.space import Parameters, Space
from pipeline.tuning.trials import State, Trial

FEWEST = 4
"""Trials below which nothing is said of what matters."""

DIGITS = 3
"""Significant ones of a proposed number."""

_STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.PRUNED,  # which lets the sampler look elsewhere, as a failure would not
    "running": TrialState.RUNNING,
}


def proposed(space: Space, trials: Sequence[Trial], *, number: int, seed: int) -> Parameters:
    """Return the parameters of a trial: the first ones start where the search starts from, then comes TPE.

    Args:
        space: what there is to choose from.
        trials: those before it, ended or not, by their numbers.
        number: of the trial, from 1 on.
        seed: of the search.
    """
    if number <= len(space.cells) and (start := space.start(space.cells[number - 1])) is not None:
        return start
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=own_seed))
    study.add_trials([_frozen(space, trial) for trial in trials])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        asked = study.ask()
        cell: str = space.cells[0] if len(space.cells) == 1 else asked.suggest_categorical("cell", space.cells)
        values = {name: _chosen(asked, _key(space, cell, name), each) for name, each in space.ranges[cell].items()}
    return {"cell": cell, **values}


def _frozen(space: Space, trial: Trial) -> FrozenTrial:
    """Return a trial as Optuna has it."""
    cell: str = str(trial.parameters["cell"])
    ranges = space.ranges[cell]
    params = {_key(space, cell, name): trial.parameters[name] for name in ranges}
    distributions = {_key(space, cell, name): _distribution(each) for name, each in ranges.items()}
    if len(space.cells) > 1:
        params["cell"], distributions["cell"] = cell, CategoricalDistribution(space.cells)
    return optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state == "complete" else None,
        params=params,
        distributions=distributions,
        intermediate_values={epoch: halving.best_until(epoch, trial.accuracies) for epoch in trial.accuracies},
    )


def _key(space: Space, cell: str, name: str) -> str:
    """Return what a parameter is called in a study: the cell is a part of it where its range is not that of all."""
    same = all(space.ranges[other].get(name) == space.ranges[cell][name] for other in space.cells)
    return name if same else f"{cell}.{name}"


def _distribution(of: Range) -> BaseDistribution:
    if isinstance(of, Choice):
        return CategoricalDistribution(of.values)
    if of.is_whole:
        return IntDistribution(int(of.low), int(of.high), log=of.log)
    return FloatDistribution(of.low, of.high, log=of.log)


def _chosen(asked: optuna.Trial, key: str, of: Range) -> Value:
    """Return what is proposed for a parameter, as a number that can be read and typed."""
    if isinstance(of, Choice):
        value: Any = asked.suggest_categorical(key, of.values)
        return of.values[of.values.index(value)]
    if of.is_whole:
        return asked.suggest_int(key, int(of.low), int(of.high), log=of.log)
    proposal = asked.suggest_float(key, of.low, of.high, log=of.log)
    return min(max(float(f"{proposal:.{DIGITS}g}"), of.low), of.high)


# --- what matters ---------------------------------------------------------------------------------------------------


def importance(space: Space, trials: Sequence[Trial]) -> tuple[dict[str, float], int]:
    """Return how much of the differences between trials each parameter explains (fANOVA), and after which epoch.

    All trials are compared after the last epoch that each of them has had. The parts add up to 1; there are none where
    trials are too few, or do not differ.
    """
    measured = [trial for trial in trials if trial.accuracies and trial.state in ("complete", "pruned")]
    epoch = min((trial.epochs for trial in measured), default=0)
    values = [halving.best_until(epoch, trial.accuracies) for trial in measured]
    if len(measured) < FEWEST or len(set(values)) == 1:
        return {}, epoch
    names = [name for name in space.names if len({trial.parameters.get(name) for trial in measured}) > 1]
    distributions = {name: _overall([trial.parameters.get(name, "none") for trial in measured]) for name in names}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                value=value,
                params={name: trial.parameters.get(name, "none") for name in names},
                distributions=distributions,
            )
            for value, trial in zip(values, measured, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(part) for name, part in found.items()}, epoch


def _overall(values: Sequence[Value]) -> BaseDistribution:
    """Return what holds all values of a parameter; where a cell lacks it, each is one of a few."""
    if all(isinstance(value, int | float) for value in values):
        numbers = [float(value) for value in values]
        return FloatDistribution(min(numbers), max(numbers), log=min(numbers) > 0)
    return CategoricalDistribution(sorted(set(values), key=str))
