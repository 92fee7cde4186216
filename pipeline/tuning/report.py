"""The result of a search: its trials, the best one, the importance of parameters, the confirmation; and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution

from pipeline import epochs
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
from pipeline.settings import Settings, command
from pipeline.tracking import schema, store
from pipeline.training import identity
from pipeline.tuning.space import Parameters, Space, range_text

USEFUL = 0.2
"""Minimum share of the variation to report: pure noise reaches it in fewer than one of twenty searches."""

FEWEST = 8
"""Minimum number of trials to measure importance."""

SHOWN = 5
"""Number of the best trials that the terminal shows."""

State = Literal["complete", "pruned", "failed", "running"]

WORDS: Mapping[State, str] = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
"""The states in which a trial has ended, as the page shows them."""


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
        reused: whether its run had already finished.
    """

    number: int
    parameters: Parameters
    state: State = "running"
    history: list[Reached] = field(default_factory=list)
    run_id: str = ""
    reason: str = ""
    reused: bool = False

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
        if run.status == "FAILED":
            self.state, self.reason = "failed", run.tags.get(schema.ERROR, "")
        elif run.status == "FINISHED" and (run.is_pruned or run.is_trained):
            self.state = "pruned" if run.is_pruned else "complete"
        accuracies, costs = (store.history_of(run.run_id, metric) for metric in (schema.VAL_ACCURACY, schema.VAL_COST))
        self.history = [Reached(epoch, costs[epoch], accuracies[epoch]) for epoch in sorted(accuracies)]


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
    def base(self) -> Settings:
        """The settings that the search started from, with the winner's cell."""
        return self.space.base(self.winner.parameters["cell"])

    @cached_property
    def is_start(self) -> bool:
        """Whether the winner is the start: the effective parameters of both are equal."""
        winner = self.space.settings(self.winner.parameters)
        return identity.fingerprint(winner, self.data) == identity.fingerprint(self.base, self.data)

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
    def explained(self) -> Mapping[str, float]:
        """The share of the variation between trials that each parameter explains, the largest first.

        A random forest predicts the lead of trials that it has not seen: the mean lead in accuracy over all trials that
        got so far, at each epoch at which trials ended. The share that it explains is R² of a cross-validation, which
        is divided among the parameters. If it is too small, there are no shares.
        """
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.metrics import r2_score
        from sklearn.model_selection import KFold, cross_val_predict

        parameters = pd.DataFrame([dict(trial.parameters) for trial in self.ended])
        ranks = parameters.loc[:, parameters.nunique() > 1].rank(method="dense")  # a tree asks for the order only
        if len(ranks) < FEWEST or ranks.empty:
            return {}
        reached = pd.DataFrame(
            [{each.epoch: trial.best_until(each.epoch) for each in trial.history} for trial in self.ended]
        )
        ends = reached[sorted({len(trial.history) for trial in self.ended})]
        leads = (ends - ends.mean()).mean(axis="columns")
        forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
        folds = KFold(min(10, len(leads)), shuffle=True, random_state=0)
        share = float(r2_score(leads, cross_val_predict(forest, ranks, leads, cv=folds)))
        if share < USEFUL:
            return {}
        parts = pd.Series(forest.fit(ranks, leads).feature_importances_, ranks.columns).sort_values(ascending=False)
        return {str(name): share * part for name, part in parts.items()}

    @property
    def importance_text(self) -> str:
        """The importance of parameters, in a sentence."""
        if not self.explained:
            return "There are too few trials to show which parameters matter."
        named = ", ".join(f"{name} {share:.0%}" for name, share in self.explained.items())
        total = sum(self.explained.values())
        return f"The parameters explain {total:.0%} of the variation between trials: {named}."

    def of_state(self, *states: State) -> list[Trial]:
        """Return the trials of each state in turn, the best first."""
        found = [trial for trial in self.trials if trial.state in states]
        return sorted(
            found, key=lambda trial: (states.index(trial.state), -trial.kept.val_accuracy if trial.history else 0)
        )

    @property
    def command(self) -> str:
        """The command that trains the winner again."""
        values = {**self.space.given, **self.winner.parameters}
        return command("run", **{name: shown(str(value)) for name, value in values.items()})

    @property
    def counts(self) -> str:
        """The number of trials in each state, and the epochs that early stopping saved."""
        parts = [f"{len(found)} {word}" for state, word in WORDS.items() if (found := self.of_state(state))]
        saved = sum(self.base.epochs - len(trial.history) for trial in self.of_state("pruned"))
        share = saved / (self.base.epochs * len(self.ended))
        trials = count_of(len(self.trials), "trial")
        return f"{trials}: {', '.join(parts)}. Early stopping saved {share:.0%} of the epochs."

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
        reason = (
            f"With {count_of(self.test.seeds, 'new seed')}, on the test data, which no trial has used: "
            f"{self.test.sentence}"
        )
        if self.test.p_value is None:
            return f"{name} is the best on validation; too few new seeds to confirm it", reason
        if not self.test.is_significant:
            return f"{name} is the best on validation, but not significantly better than the start", reason
        return f"{name} is significantly {'better' if self.test.difference > 0 else 'worse'} than the start", reason


# --- the report -------------------------------------------------------------------------------------------------------


def log_winner(search: str, result: SearchResult) -> None:
    """Log which trial is the best; this also marks that all trials have ended."""
    winner = result.winner
    store.log_metrics(search, {schema.BEST_VAL_ACCURACY: winner.kept.val_accuracy})
    values = {f"best.{name}": str(value) for name, value in sorted(winner.parameters.items())}
    store.log_tags(search, {schema.BEST_TRIAL: winner.name, schema.BEST_RUN: winner.run_id, **values})


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
    for line in (result.counts, result.importance_text, f"{headline}. {reason}", f"Train it again: {result.command}"):
        reporter.result(line)


def files(result: SearchResult) -> dict[str, bytes]:
    """Return the page, its table as CSV and its chart as PNG, by file name."""
    png = reports.png(chart(result))
    page = (
        reports.environment(Path(__file__).parent)
        .get_template("search.html")
        .render(
            result=result,
            chart=png,
            trials=result.of_state(*WORDS, "running"),
            words=WORDS,
            searched={name: range_text(each) for name, each in result.space.ranges.items()},
        )
    )
    return {
        "search.html": page.encode(),
        "trials.csv": table(result).to_csv(index=False).encode(),
        "trials.png": png,
    }


def chart(result: SearchResult) -> Figure:
    """Return a figure of the accuracies by number of the trial, with the best so far, and by each parameter."""
    numbers = [trial.number for trial in result.ended]
    accuracies = [100 * trial.kept.val_accuracy for trial in result.ended]
    names = ["trial", *result.space.names]
    figure = figures.empty_figure(2.5 * len(names), 4.0)
    row = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    row[0].set_ylabel("validation accuracy (%)")
    row[0].plot(numbers, np.maximum.accumulate(accuracies), color=INK, drawstyle="steps-post")
    row[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for name, axes in zip(names, row, strict=True):
        axes.set_xlabel(name)
        figures.tidy(axes)
        values, searched = (
            [trial.parameters.get(name, trial.number) for trial in result.ended],
            result.space.ranges.get(name),
        )
        if isinstance(searched, CategoricalDistribution):
            values = list(map(searched.choices.index, values))
            axes.set_xticks(range(len(searched.choices)), map(str, searched.choices))
        elif searched and searched.log:
            axes.set(xscale="log", xlim=(searched.low / 1.1, searched.high * 1.1))
            plain_logarithmic(axes.xaxis)
            axes.xaxis.set_tick_params(labelrotation=45)
        axes.scatter(values, accuracies, c=numbers, cmap="Blues", edgecolors=FAINT)
    return figure


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
