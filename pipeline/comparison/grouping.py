"""Select finished runs, read their results, and group the runs that differ only by the seed.

Shapes: N test examples, S seeds. Accuracies are fractions of 1, costs nats, times seconds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.disk import SHORT
from pipeline.errors import TrackingError, UsageError
from pipeline.evaluation import metrics
from pipeline.settings import WITHOUT_EFFECT, command, option
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun

IGNORED_PARAMS = WITHOUT_EFFECT | schema.COMMAND_OPTIONS | {"seed"}
"""The parameters in which two runs of a group may differ; their data is compared by its digest."""

_LONG_SECONDS = 10


def count_of(count: int, noun: str) -> str:
    """Return a number with its noun, such as '1 seed' or '3 seeds'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points, with its sign: '+0.12', '−0.30', '0.00'."""
    text = f"{100 * fraction:+.2f}".replace("-", "−")
    return text if text.strip("+−") != "0.00" else "0.00"


@dataclass(frozen=True, kw_only=True, eq=False)
class Result(TrackedRun):
    """A finished and evaluated run, with its tables. The file of a custom cell is one of its ``params``.

    Args:
        history: a row per epoch, as ``training/history.csv``.
        answers: a row per test example, as ``evaluation/predictions.parquet``.
        reused: whether an earlier comparison trained it.
        address: address of its page on the tracking server; empty if the store has none.
    """

    history: pd.DataFrame
    answers: pd.DataFrame
    reused: bool = False
    address: str = ""

    @property
    def seed(self) -> int:
        """The seed of the initial weights and of the order of the images."""
        return int(self.params["seed"])

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return [column.removeprefix("p_") for column in self.answers.columns if column.startswith("p_")]


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Runs of one configuration, one per seed, in the order of the seeds; ``label`` is unique in a comparison."""

    label: str
    results: tuple[Result, ...]

    @property
    def cell(self) -> str:
        """The recurrent cell; it may be one that is not in :data:`CELLS`."""
        return self.results[0].params["cell"]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(result.seed for result in self.results)

    @property
    def best(self) -> Result:
        """The run with the best validation accuracy."""
        return max(self.results, key=lambda result: result.metrics[schema.BEST_VAL_ACCURACY])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row per seed, a column per metric that every run has."""
        return pd.DataFrame([result.metrics for result in self.results], index=self.seeds).dropna(axis="columns")

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the seeds."""
        return float(self.metrics[metric].mean())

    def text(self, metric: str) -> str:
        """Return mean ± standard deviation of a metric, accuracies and F1 in percent."""
        values = self.metrics[metric]
        decimals, scale = (2, 100) if metric.endswith(("accuracy", "f1")) else (4, 1)
        if metric.endswith("seconds"):
            decimals = 1 if values.mean() >= _LONG_SECONDS else 2
        found = values.agg(["mean", "std"]).dropna()
        return " ± ".join(f"{scale * value:,.{decimals}f}" for value in found)

    def history(self, column: str) -> pd.DataFrame:
        """Return a column of the histories: a row per epoch that all seeds reached, a column per seed."""
        histories = [result.history.set_index("epoch")[column] for result in self.results]
        return pd.concat(histories, axis=1, join="inner", keys=self.seeds)

    @property
    def epoch_seconds(self) -> float:
        """Median over all epochs of all seeds."""
        return float(pd.concat([result.history["epoch_seconds"] for result in self.results]).median())

    @property
    def parameters(self) -> int:
        """Number of trainable weights."""
        return round(self.results[0].metrics[schema.PARAMETERS])

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each run classifies each test example correctly, (S, N)."""
        return np.array([result.answers["label"] == result.answers["predicted"] for result in self.results])


def grouped(results: Iterable[Result]) -> list[Group]:
    """Return the groups, ranked by validation: the first one is recommended, tagged and registered.

    The rank is the mean of the best validation accuracies; among equals, fewer parameters are better. Of several runs
    with the same configuration and seed, the one that ended last counts.
    """
    members: dict[tuple[tuple[str, str], ...], dict[int, Result]] = defaultdict(dict)
    for result in sorted(results, key=lambda result: result.ended or result.started):
        members[configuration(result.params)][result.seed] = result
    tables = {
        shared: dict(shared) | {"recipe": next(iter(by_seed.values())).params.get("recipe", "")}
        for shared, by_seed in members.items()
    }
    groups = [
        Group(label=_label(tables[shared], tables.values()), results=tuple(by_seed[seed] for seed in sorted(by_seed)))
        for shared, by_seed in members.items()
    ]
    return sorted(groups, key=lambda group: (-group.mean(schema.BEST_VAL_ACCURACY), group.parameters, group.label))


def _label(table: Mapping[str, str], tables: Iterable[Mapping[str, str]]) -> str:
    """Return the cell and the parameters that distinguish a configuration of it: only the recipe if that is enough."""
    others = [each for each in tables if each["cell"] == table["cell"]]
    if len({each["recipe"] for each in others}) == len(others) > 1:
        return f"{table['cell']}, recipe {table['recipe']}"
    names = sorted({name for each in others for name in each} - {"recipe"})
    differing = [name for name in names if len({each.get(name) for each in others}) > 1 and name in table]
    return ", ".join([table["cell"], *(f"{name} {table[name]}" for name in differing)])


def configuration(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the parameters that the runs of a group share: names and values, sorted, with one spelling per value."""
    return tuple((name, _plain(text)) for name, text in sorted(params.items()) if name not in IGNORED_PARAMS)


def _plain(text: str) -> str:
    """Return one spelling of a value: `mlflow run` logs it as it was typed, ``1e-3`` for ``0.001``."""
    try:
        return f"{float(text):.15g}"
    except ValueError:
        return text


# --- the runs to compare ----------------------------------------------------------------------------------------------


def select(
    parent: str | None, filter_string: str | None, note: Callable[[str], None]
) -> tuple[list[Group], dict[str, str]]:
    """Return the groups of a comparison, or of the training runs that an MLflow filter matches.

    Runs that are not finished and evaluated are left out: the second value is the reasons by the names of such runs.

    Raises:
        TrackingError: the tracking server does not answer (``note`` is called before its request is repeated), there
            are no finished runs, or they are of different data.
        UsageError: neither or both are given, or the filter is not valid.
    """
    if (parent is None) == (filter_string is None):
        raise UsageError(
            f"parent, filter: exactly one of them must be given; got {'neither' if parent is None else 'both'}. parent "
            "is the ID of a comparison, filter an MLflow filter that matches training runs."
        )
    connection.connect(note)  # after the check: it makes a store that does not exist
    found = select_children(store.get_run(parent)) if parent is not None else _select_matching(str(filter_string))
    for name, reason in found[1].items():
        note(f"Left out: {name}: {reason.rstrip('.')}.")
    return found


def select_children(parent: TrackedRun) -> tuple[list[Group], dict[str, str]]:
    """Return the groups of a comparison; for a search, of the runs that confirm it, without its trials.

    Raises:
        TrackingError: it has no finished runs, or they are of different data.
    """
    trials = {trial["run_id"] for trial in parent.trials.values()}
    runs = [run for run in store.members(parent) if run.is_training and run.run_id not in trials]
    if not runs:
        raise TrackingError(
            f"parent: must be a run that has training runs as children; {parent.run_id!r} has none. Give the ID of a "
            f"comparison, or choose runs with {option('filter')}."
        )
    return select_runs(runs, parent.run_id)


def _select_matching(filter_string: str) -> tuple[list[Group], dict[str, str]]:
    runs = [run for run in store.find_runs(filter_string) if run.is_training]
    if not runs:
        raise TrackingError(
            f"filter: must match training runs of this experiment; {filter_string!r} matches none. "
            "List the runs with: pipeline runs. Choose another experiment with MLFLOW_EXPERIMENT_NAME."
        )
    return select_runs(runs)


def select_runs(runs: Sequence[TrackedRun], parent: str | None = None) -> tuple[list[Group], dict[str, str]]:
    """Return the groups of those runs that are finished and evaluated, and why the others are left out.

    Args:
        runs: training runs.
        parent: the comparison that they are part of; runs that another one has trained are reused.

    Raises:
        TrackingError: none is finished and evaluated, or they are of different data.
    """
    left_out = {
        _name(run): run.tags.get(schema.ERROR, f"lacks {', '.join(run.missing)}") for run in runs if run.missing
    }
    complete = [run for run in runs if not run.missing]
    if not complete:
        raise TrackingError(
            "A comparison needs runs that are finished and evaluated; got none. "
            + "".join(f"{name}: {reason}. " for name, reason in left_out.items())
            + f"Repeat the command that trains them, or evaluate them: `{command('evaluate', run_id='RUN_ID')}`."
        )
    data = {f"{run.tags.get(schema.DATASET)}-{run.tags.get(schema.DATASET_DIGEST, '')[:SHORT]}" for run in complete}
    if len(data) > 1:
        raise TrackingError(
            f"The runs of a comparison must have the same data; got {len(data)} data sets: {', '.join(sorted(data))}. "
            "Choose one with a filter, such as \"tags.dataset = 'mnist'\"."
        )
    groups = grouped(_load(run, parent) for run in complete)
    counted = {result.run_id for group in groups for result in group.results}
    repeated = {_name(run): "a later run has the same parameters" for run in complete if run.run_id not in counted}
    return groups, left_out | repeated


def _name(run: TrackedRun) -> str:
    return f"{run.name} ({run.run_id})"


def _load(run: TrackedRun, parent: str | None) -> Result:
    history = store.load_table(run.run_id, schema.HISTORY)
    answers = store.load_table(run.run_id, schema.PREDICTIONS)
    averages = metrics.class_averages(answers["label"].to_numpy(), answers["predicted"].to_numpy())
    changed: dict[str, Any] = {"metrics": dict(zip(schema.CLASS_AVERAGES, averages, strict=True)) | dict(run.metrics)}
    if schema.CELL_FILE in run.tags:  # another file of a custom cell is another network
        changed["params"] = dict(run.params) | {schema.CELL_FILE: f"sha256:{run.tags[schema.CELL_FILE][:SHORT]}"}
    return Result(
        **vars(run) | changed,
        history=history,
        answers=answers,
        reused=parent is not None and not store.belongs_to(run, parent),
        address=lifecycle.page_of(run),
    )
