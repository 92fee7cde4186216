"""The result of a search and its report: the best trial, the importance of parameters, the confirmation, a page."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.trial import TrialState, create_trial

from pipeline.comparison import pairwise_tests
from pipeline.comparison import report as reports
from pipeline.comparison.charts import plain_logarithmic
from pipeline.comparison.grouping import Group, configuration, count_of
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.data.splits import DataSet
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, Settings, command, shown
from pipeline.tracking import schema, store
from pipeline.training import identity
from pipeline.tuning.space import Space, range_text
from pipeline.tuning.study import State, Trial

USEFUL = 0.2
"""Minimum share of the variation to report: pure noise reaches it in fewer than one of twenty searches."""

FEWEST = 8
"""Minimum number of trials to measure importance."""

SHOWN = 5
"""Number of the best trials that the terminal shows."""

ACCURACY = "validation accuracy"

CHARTS = {
    "progress": ("Best accuracy so far", "Each dot is a trial. A stopped trial counts with its best accuracy."),
    "curves": ("Trials by epoch", "Best accuracy so far. A line ends where its trial was stopped."),
    "parameters": ("Each parameter", "Accuracy by the value of a parameter. Later trials are darker."),
}
"""The charts of a page: name of the file, heading and caption."""


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
        """The trials for Optuna's charts, numbered from 1; a stopped trial counts with its best accuracy."""
        study = optuna.create_study(direction="maximize")
        study.add_trial(create_trial(state=TrialState.FAIL))  # takes number 0
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
    def explained(self) -> tuple[float, Mapping[str, float]]:
        """The share of the variation between trials that the parameters explain, and the part of each parameter in it.

        A random forest predicts the lead of trials that it has not seen: the mean lead in accuracy over all trials that
        got so far, at each epoch at which trials ended. The share that it explains is R² of a cross-validation. If the
        share is too small, there are no parts.
        """
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.model_selection import KFold, cross_val_predict

        trials = self.study.get_trials(states=[TrialState.COMPLETE])
        parameters = pd.DataFrame([trial.params for trial in trials])
        parameters = parameters.loc[:, parameters.nunique() > 1]
        if len(trials) < FEWEST or parameters.empty:
            return 0.0, {}
        reached = pd.DataFrame({trial.number: trial.intermediate_values for trial in trials})
        ends = reached.loc[sorted({max(trial.intermediate_values) for trial in trials})]
        leads = ends.sub(ends.mean(axis=1), axis=0).mean()
        forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
        folds = KFold(min(10, len(trials)), shuffle=True, random_state=0)
        numbers = leads.to_numpy()
        errors = numbers - cross_val_predict(forest, pd.get_dummies(parameters), numbers, cv=folds)
        share = 1 - float(np.square(errors).sum() / max(np.square(numbers - numbers.mean()).sum(), 1e-12))
        if share < USEFUL:
            return max(share, 0.0), {}
        parts = optuna.importance.get_param_importances(
            self.study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            params=[*parameters],
            target=lambda trial: float(leads[trial.number]),
        )
        return share, {name: share * part for name, part in parts.items()}

    @property
    def importance_text(self) -> str:
        """The importance of parameters, in a sentence."""
        share, parts = self.explained
        named = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
        text = f"The parameters explain {share:.0%} of the variation between trials: {named}."
        return text if parts else "There are too few trials to show which parameters matter."

    @property
    def saved(self) -> float:
        """The share of all epochs that early stopping saved."""
        pruned = self.of_state("pruned")
        ended = len(pruned) + len(self.of_state("complete"))
        return sum(self.base.epochs - len(trial.history) for trial in pruned) / (self.base.epochs * ended)

    def of_state(self, state: State) -> list[Trial]:
        """Return the trials of a state, the best first."""
        found = [trial for trial in self.trials if trial.state == state]
        return sorted(found, key=lambda trial: -trial.kept.val_accuracy if trial.history else 0)

    @property
    def command(self) -> str:
        """The command that trains the winner again, with every value."""
        values = {field.name: getattr(self.settings, field.name) for field in fields(Settings)}
        values["source"] = shown(self.settings.source)
        defaults = {name for name in DATA_PARAMETERS if getattr(self.settings, name) == getattr(Settings, name)}
        return command("run", **{name: value for name, value in values.items() if name not in defaults})

    @property
    def counts(self) -> str:
        """The number of trials in each state, and the epochs that early stopping saved."""
        words: dict[State, str] = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
        parts = [f"{len(found)} {word}" for state, word in words.items() if (found := self.of_state(state))]
        saved = f"Early stopping saved {self.saved:.0%} of the epochs."
        return f"{count_of(len(self.trials), 'trial')}: {', '.join(parts)}. {saved}"

    @property
    def verdict(self) -> tuple[str, str]:
        """The result in a few words, and its reason."""
        name = self.winner.name
        if self.is_start:
            reason = "On validation, no trial was ahead of the parameters that the search started from."
            return "Nothing better than the start was found", reason
        if self.test is None:
            reason = "The best of many trials is partly luck. --confirm shows how much of its lead is real."
            return f"{name} is the best on validation; not confirmed", reason
        seeds = count_of(self.test.seeds, "new seed")
        reason = f"With {seeds}, on the test data, which no trial has used: {self.test.sentence}"
        if not self.test.is_significant:
            return f"{name} is the best on validation, but not significantly better than the start", reason
        return f"{name} is significantly {'better' if self.test.difference > 0 else 'worse'} than the start", reason


# --- the report -------------------------------------------------------------------------------------------------------


def log_winner(search: str, result: SearchResult) -> None:
    """Log which trial is the best; this also marks that all trials have ended."""
    share, parts = result.explained
    states: tuple[State, ...] = ("complete", "pruned", "failed")
    counts = {f"trials_{state}": float(len(result.of_state(state))) for state in states}
    importances = {f"importance.{name}": part for name, part in parts.items()}
    totals = {
        schema.BEST_VAL_ACCURACY: result.winner.kept.val_accuracy,
        "explained": share,
        "epochs_saved": result.saved,
    }
    store.log_metrics(search, totals | counts | importances)
    values = {f"best.{name}": str(value) for name, value in sorted(result.winner.parameters.items())}
    store.log_tags(search, {schema.BEST_TRIAL: result.winner.name, schema.BEST_RUN: result.winner.run_id, **values})


def report(search: str, result: SearchResult, reporter: Reporter) -> None:
    """Store the page on the run of a search, in ``search/``, and show the result."""
    headline, reason = result.verdict
    store.write_files(search, {f"{schema.SEARCH_FOLDER}/{name}": content for name, content in files(result).items()})
    store.log_tags(search, {"verdict": headline})
    rows = [
        [trial.name, f"{100 * trial.kept.val_accuracy:.2f}", str(trial.kept.epoch)]
        + [str(trial.parameters[name]) for name in result.space.names]
        for trial in result.of_state("complete")[:SHOWN]
    ]
    reporter.table(("best trials", "val accuracy %", "kept epoch", *result.space.names), rows)
    for line in (result.counts, result.importance_text, f"{headline}. {reason}"):
        reporter.result(line)
    reporter.result(f"Train it again: {result.command}")


def files(result: SearchResult) -> dict[str, bytes]:
    """Return the page, its table as CSV and its charts as PNG, by file name."""
    drawn = {name: reports.png(figure, dpi=150, bbox_inches="tight") for name, figure in charts(result).items()}
    template = reports.environment(Path(__file__).parent).get_template("search.html")
    page = template.render(
        result=result,
        charts=[(name, *CHARTS[name], content) for name, content in drawn.items()],
        trials=[trial for state in ("complete", "pruned", "failed", "running") for trial in result.of_state(state)],
        searched={name: range_text(each) for name, each in result.space.ranges.items()},
    )
    tables = {"search.html": page.encode(), "trials.csv": table(result).to_csv(index=False).encode()}
    return tables | {f"{name}.png": content for name, content in drawn.items()}


def charts(result: SearchResult) -> dict[str, Figure]:
    """Return Optuna's charts by name, with ticks as plain numbers."""
    from matplotlib import pyplot, rc_context
    from optuna.visualization import matplotlib as drawing

    with warnings.catch_warnings(), rc_context():  # Optuna sets a style for all later figures
        warnings.simplefilter("ignore")  # these charts of Optuna are marked as experimental
        drawn: dict[str, Any] = {
            "progress": drawing.plot_optimization_history(result.study, target_name=ACCURACY),
            "curves": drawing.plot_intermediate_values(result.study),
            "parameters": drawing.plot_slice(result.study, params=result.space.names, target_name=ACCURACY),
        }
    drawn["curves"].set(xlabel="epoch", ylabel=ACCURACY)
    figures: dict[str, Figure] = {name: np.ravel(axes)[0].figure for name, axes in drawn.items()}
    figures["parameters"].set_size_inches(10, 4.5)
    for figure in figures.values():
        pyplot.close(figure)  # otherwise pyplot would keep it in memory
        figure.suptitle("")
        for axes in figure.axes:
            axes.set_title("")
            if axes.get_xscale() == "log":
                plain_logarithmic(axes.xaxis)
                axes.xaxis.set_tick_params(labelrotation=45)
    return figures


def table(result: SearchResult) -> pd.DataFrame:
    """Return a row per trial: its parameters and its results; accuracies are fractions."""
    rows = [
        {
            "trial": trial.number,
            "name": trial.name,
            "state": trial.state,
            "best_val_accuracy": trial.kept.val_accuracy if trial.history else None,
            "kept_epoch": trial.kept.epoch if trial.history else None,
            "epochs": len(trial.history),
            **{name: trial.parameters[name] for name in result.space.names},
            "reused": trial.reused,
            "run_id": trial.run_id,
            "reason": trial.reason,
        }
        for trial in result.trials
    ]
    return pd.DataFrame(rows).astype({"kept_epoch": "Int64"})
