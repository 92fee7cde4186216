"""How much of the differences between trials their parameters explain, and which of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution

from pipeline.tuning.space import Space
from pipeline.tuning.trials import Trial

USEFUL = 0.2
"""Share of the variation below which nothing is said: pure noise reaches it in fewer than one of twenty searches."""

FEWEST = 8
"""Trials below which nothing is measured."""


class Explained(NamedTuple):
    """What the parameters explain.

    Attributes:
        share: of the variation between trials, predicted for trials that were held out (R² of a cross-validation).
        parameters: the part of each parameter in it; they add up to ``share``. Empty where too little is explained.
    """

    share: float
    parameters: Mapping[str, float]


def explained(space: Space, trials: Sequence[Trial]) -> Explained:
    """Return how much of the differences in validation accuracy the parameters explain.

    A trial counts at each epoch after which trials were stopped, and at its end, by its lead over the mean of all that
    came as far. A random forest predicts these leads from the parameters, for trials that it has not seen.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import GroupKFold, cross_val_predict

    measured = [trial for trial in trials if trial.state in ("complete", "pruned")]
    names = [name for name in space.names if len({trial.parameters.get(name) for trial in measured}) > 1]
    if len(measured) < FEWEST or not names:
        return Explained(0.0, {})
    numbers, leads = _leads(measured)
    features = _features(names, [measured[number] for number in numbers])
    forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
    folds = GroupKFold(min(10, len(measured)))
    predicted = cross_val_predict(forest, features, leads, groups=numbers, cv=folds)
    variation = np.square(leads - leads.mean()).sum()
    share = max(0.0, 1 - float(np.square(leads - predicted).sum() / variation)) if variation else 0.0
    if share < USEFUL:
        return Explained(share, {})
    return Explained(share, {name: share * part for name, part in _parts(features, leads).items()})


def _leads(trials: Sequence[Trial]) -> tuple[list[int], NDArray[np.float64]]:
    """Return the index of a trial and its lead over the others, for each trial and epoch that counts."""
    numbers: list[int] = []
    leads: list[float] = []
    for epoch in {len(trial.history) for trial in trials}:
        reached = [number for number, trial in enumerate(trials) if len(trial.history) >= epoch]
        values = np.array([trials[number].best_until(epoch) for number in reached])
        numbers += reached
        leads += (values - values.mean()).tolist()
    return numbers, np.array(leads)


def _features(names: Sequence[str], trials: Sequence[Trial]) -> "pd.DataFrame":
    """Return a column of numbers per parameter; values that are no numbers become their places in a list."""
    table = pd.DataFrame([{name: trial.parameters.get(name, "none") for name in names} for trial in trials])
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].astype(str).astype("category").cat.codes
    return table.astype(float)


def _parts(features: "pd.DataFrame", leads: NDArray[np.float64]) -> dict[str, float]:
    """Return the part of each parameter in the differences (fANOVA), the largest first; they add up to 1."""
    names = [str(name) for name in features]
    kinds = {name: FloatDistribution(features[name].min(), features[name].max()) for name in names}
    study = optuna.create_study(direction="maximize")
    for row, lead in zip(features.to_numpy().tolist(), leads, strict=True):
        params = dict(zip(names, row, strict=True))
        study.add_trial(optuna.trial.create_trial(value=float(lead), params=params, distributions={**kinds}))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
