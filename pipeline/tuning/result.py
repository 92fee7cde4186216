"""The result of a search: the best trial, the importance of its parameters, its confirmation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.comparison import pairwise_tests
from pipeline.comparison.grouping import Group, configuration, count_of
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.data.splits import DataSet
from pipeline.settings import DATA_PARAMETERS, Settings, command, shown
from pipeline.tracking import schema
from pipeline.training import identity
from pipeline.tuning.space import Space
from pipeline.tuning.study import State, Trial

USEFUL = 0.2
"""Minimum share of the variation to report: pure noise reaches it in fewer than one of twenty searches."""

FEWEST = 8
"""Minimum number of trials to measure importance."""


class Explained(NamedTuple):
    """The variation between trials that the parameters explain.

    Attributes:
        share: of the variation between trials, predicted for trials that were held out (R² of a cross-validation).
        parameters: the part of each parameter in it; they add up to ``share``. Empty where too little is explained.
    """

    share: float = 0.0
    parameters: Mapping[str, float] = MappingProxyType({})


def explained(study: optuna.Study) -> Explained:
    """Return how much of the differences in validation accuracy between the trials of a study the parameters explain.

    A random forest predicts the leads of trials that it has not seen from their parameters.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    trials = study.get_trials(states=[TrialState.COMPLETE])
    parameters = pd.DataFrame([trial.params for trial in trials])
    parameters = parameters.loc[:, parameters.nunique() > 1]
    if len(trials) < FEWEST or parameters.empty:
        return Explained()
    by_trial = leads(trials)
    numbers = np.array([*by_trial.values()])
    forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
    folds = KFold(min(10, len(trials)), shuffle=True, random_state=0)
    predicted = cross_val_predict(forest, pd.get_dummies(parameters), numbers, cv=folds)
    share = 1 - float(np.square(numbers - predicted).sum() / max(np.square(numbers - numbers.mean()).sum(), 1e-12))
    if share < USEFUL:
        return Explained(max(share, 0.0))
    parts = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        params=[*parameters],
        target=lambda trial: by_trial[trial.number],
    )
    return Explained(share, {name: share * part for name, part in parts.items()})


def leads(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Return the lead in accuracy of each trial, by number.

    That is its mean lead over all trials that came as far, at each epoch at which trials ended, itself included.
    """
    table = pd.DataFrame({trial.number: trial.intermediate_values for trial in trials})
    ends = table.loc[sorted({max(trial.intermediate_values) for trial in trials})]
    means = ends.sub(ends.mean(axis=1), axis=0).mean()
    return {trial.number: float(means[trial.number]) for trial in trials}


@dataclass(kw_only=True, eq=False)
class SearchResult:
    """The result of a search.

    Attributes:
        space: the search space.
        data: the data of all trials.
        trials: all trials.
        winner: the best trial on validation.
        confirmation: the winner and the start, trained with new seeds; None if this was unnecessary or not requested.
    """

    space: Space
    data: DataSet
    trials: Sequence[Trial]
    winner: Trial
    confirmation: tuple[Group, Group] | None = None

    @cached_property
    def settings(self) -> Settings:
        """The winner's settings."""
        return self.space.settings(self.winner.parameters)

    @cached_property
    def base(self) -> Settings:
        """The settings that the search started from, with the winner's cell."""
        return self.space.base(self.settings.cell)

    @cached_property
    def is_start(self) -> bool:
        """Whether the winner is the start: the effective parameters of both are equal."""
        return identity.fingerprint(self.settings, self.data) == identity.fingerprint(self.base, self.data)

    def confirm(self, groups: Sequence[Group]) -> None:
        """Set the confirmation from the groups of the winner and of the start."""
        base = identity.parameters(self.base, self.data)
        own = configuration({name: str(value) for name, value in base.items()})
        winner, start = sorted(groups, key=lambda group: configuration(group.results[0].params) == own)
        self.confirmation = replace(winner, label="the best trial"), replace(start, label="the start")

    @property
    def test(self) -> PairwiseTest | None:
        """The test of the winner against the start, on the test data."""
        return pairwise_tests.between(*self.confirmation) if self.confirmation else None

    @cached_property
    def study(self) -> optuna.Study:
        """The trials as Optuna shows them, numbered from 1; those that were stopped count with what they reached."""
        study = optuna.create_study(direction="maximize")
        study.add_trial(create_trial(state=TrialState.FAIL))  # number 0
        for trial in self.trials:
            has_value = trial.state in ("complete", "pruned")
            made = create_trial(
                state=TrialState.COMPLETE if has_value else TrialState.FAIL,
                value=trial.kept.val_accuracy if has_value else None,
                params=dict(trial.parameters),
                distributions={**self.space.ranges},
                intermediate_values={each.epoch: trial.best_until(each.epoch) for each in trial.history},
            )
            study.add_trial(made)
        return study

    @cached_property
    def explained(self) -> Explained:
        """How much of the differences between trials the parameters explain."""
        return explained(self.study)

    @property
    def importance_text(self) -> str:
        """The importance of parameters, in a sentence."""
        share, parts = self.explained
        said = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
        text = f"The parameters explain {share:.0%} of the variation between trials that were held out: {said}."
        return text if parts else "Too few trials to tell which parameters matter."

    @property
    def saved(self) -> float:
        """The share of all epochs that early stopping saved."""
        ended = [len(trial.history) for trial in self.trials if trial.state in ("complete", "pruned")]
        stopped = [len(trial.history) for trial in self.of_state("pruned")]
        return sum(self.base.epochs - epochs for epochs in stopped) / (self.base.epochs * len(ended))

    def of_state(self, state: State) -> list[Trial]:
        """Return the trials of a state, the best first."""
        found = [trial for trial in self.trials if trial.state == state]
        return sorted(found, key=lambda trial: -trial.kept.val_accuracy if trial.history else 0)

    @property
    def command(self) -> str:
        """The command that trains the winner again, with every value."""
        values = {field.name: getattr(self.settings, field.name) for field in fields(Settings)}
        defaults = {name for name in DATA_PARAMETERS if values[name] == getattr(Settings, name)}
        texts = {"source": shown(self.settings.source)}
        return command("run", **{name: value for name, value in (values | texts).items() if name not in defaults})

    @property
    def counts(self) -> str:
        """The number of trials in each state, and the epochs that early stopping saved."""
        words: dict[State, str] = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
        parts = [f"{len(found)} {word}" for state, word in words.items() if (found := self.of_state(state))]
        saved = f"Early stopping saved {self.saved:.0%} of the epochs."
        return f"{count_of(len(self.trials), 'trial')}: {', '.join(parts)}. {saved}"

    @property
    def headline(self) -> str:
        """The result in a few words."""
        name = self.winner.name
        if self.is_start:
            return "Nothing better than the start was found"
        if self.test is None:
            return f"{name} is the best on validation; not confirmed"
        if not self.test.is_significant:
            return f"{name} is the best on validation, but not significantly better than the start on the test data"
        return f"{name} is significantly {'better' if self.test.difference > 0 else 'worse'} than the start"

    @property
    def reason(self) -> str:
        """The reason for the headline."""
        if self.is_start:
            return "On validation, no trial was ahead of the parameters that the search started from."
        if self.test is None:
            return "The best of many trials is partly luck: --confirm shows how much of its lead is real."
        seeds = count_of(self.test.seeds, "new seed")
        return f"On the test data, which no trial has seen, with {seeds}: {self.test.sentence}"

    def tags(self) -> dict[str, str]:
        """Return the tags for the run of the search."""
        values = {f"best.{name}": str(value) for name, value in sorted(self.winner.parameters.items())}
        return {schema.BEST_TRIAL: self.winner.name, schema.BEST_RUN: self.winner.run_id, **values}

    def metrics(self) -> dict[str, float]:
        """Return the metrics for the run of the search."""
        states: tuple[State, ...] = ("complete", "pruned", "failed")
        counts = {f"trials_{state}": float(len(self.of_state(state))) for state in states}
        parts = {f"importance.{name}": part for name, part in self.explained.parameters.items()}
        return counts | parts | {"explained": self.explained.share, "epochs_saved": self.saved}
