"""The result of a search and its report: the best trial, the importance of parameters, the confirmation, a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution

from pipeline.comparison import pairwise_tests
from pipeline.comparison import report as reports
from pipeline.comparison.charts import plain_logarithmic
from pipeline.comparison.grouping import Group, configuration, count_of
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.data.splits import DataSet
from pipeline.errors import shown
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT, INK
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, Settings, command
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

ACCURACY = "validation accuracy (%)"

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

    @property
    def ended(self) -> list[Trial]:
        """The complete and the stopped trials, by number."""
        return [trial for trial in self.trials if trial.state in ("complete", "pruned")]

    @cached_property
    def explained(self) -> tuple[float, Mapping[str, float]]:
        """The share of the variation between trials that the parameters explain, and the part of each parameter in it.

        A random forest predicts the lead of trials that it has not seen: the mean lead in accuracy over all trials that
        got so far, at each epoch at which trials ended. The share that it explains is R² of a cross-validation. If the
        share is too small, there are no parts.
        """
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.metrics import r2_score
        from sklearn.model_selection import KFold, cross_val_predict

        parameters = pd.DataFrame([dict(trial.parameters) for trial in self.ended])
        ranks = parameters.loc[:, parameters.nunique() > 1].rank(method="dense")  # a tree asks for the order only
        if len(ranks) < FEWEST or ranks.empty:
            return 0.0, {}
        reached = pd.DataFrame(
            [{each.epoch: trial.best_until(each.epoch) for each in trial.history} for trial in self.ended]
        )
        ends = reached[sorted({len(trial.history) for trial in self.ended})]
        leads = (ends - ends.mean()).mean(axis="columns")
        forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
        folds = KFold(min(10, len(leads)), shuffle=True, random_state=0)
        share = float(r2_score(leads, cross_val_predict(forest, ranks, leads, cv=folds)))
        if share < USEFUL:
            return max(share, 0.0), {}
        parts = pd.Series(forest.fit(ranks, leads).feature_importances_, ranks.columns).sort_values(ascending=False)
        return share, {str(name): share * part for name, part in parts.items()}

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
        return sum(self.base.epochs - len(trial.history) for trial in pruned) / (self.base.epochs * len(self.ended))

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
        if self.test.variance is None:
            return f"{name} is the best on validation; too few new seeds to confirm it", reason
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
    drawn = {name: reports.png(figure) for name, figure in charts(result).items()}
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
    """Return the charts by name."""
    numbers = [trial.number for trial in result.ended]
    accuracies = [100 * trial.kept.val_accuracy for trial in result.ended]
    progress, (axes,) = _empty(6, "trial")
    axes.plot(numbers, accuracies, "o", color=FAINT)
    axes.plot(numbers, np.maximum.accumulate(accuracies), color=INK, drawstyle="steps-post")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    curves, (axes,) = _empty(6, "epoch")
    for trial in result.ended:
        epochs = [each.epoch for each in trial.history]
        axes.plot(epochs, [100 * trial.best_until(epoch) for epoch in epochs], marker=".", linewidth=1)
    figures.epoch_axis(axes, 1, result.base.epochs)
    parameters, row = _empty(10, *result.space.names)
    for name, axes in zip(result.space.names, row, strict=True):
        values, searched = [trial.parameters[name] for trial in result.ended], result.space.ranges[name]
        if isinstance(searched, CategoricalDistribution):
            values = list(map(searched.choices.index, values))
            axes.set_xticks(range(len(searched.choices)), map(str, searched.choices))
        elif searched.log:
            axes.set_xscale("log")
            axes.set_xlim(searched.low / 1.1, searched.high * 1.1)
            plain_logarithmic(axes.xaxis)
            axes.xaxis.set_tick_params(labelrotation=45)
        axes.scatter(values, accuracies, c=numbers, cmap="Blues", edgecolors=FAINT)
    return {"progress": progress, "curves": curves, "parameters": parameters}


def _empty(width: float, *labels: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with an empty chart of accuracies for each label of a horizontal axis."""
    figure = figures.empty_figure(width, 4.0)
    row = list(figure.subplots(1, len(labels), sharey=True, squeeze=False)[0])
    row[0].set_ylabel(ACCURACY)
    for axes, label in zip(row, labels, strict=True):
        axes.set_xlabel(label)
        figures.tidy(axes)
    return figure, row


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
