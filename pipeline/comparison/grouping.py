"""Group finished runs that differ only by the seed, with means and standard deviations.

Shapes: N test examples, S seeds. Accuracies are fractions of 1, costs nats, times seconds.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.cells import CELLS
from pipeline.settings import WITHOUT_EFFECT
from pipeline.tracking import schema

IGNORED_PARAMS = WITHOUT_EFFECT | schema.COMMAND_OPTIONS | {"seed"}
"""The parameters in which two runs of one group may differ; a digest guards that their data is the same."""

_LONG_SECONDS = 10


def count_of(count: int, noun: str) -> str:
    """Return such as '1 seed' and '3 seeds'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points, with its sign: '+0.12', '−0.30', '0.00'."""
    text = f"{100 * fraction:+.2f}".replace("-", "−")
    return text if text.strip("+−") != "0.00" else "0.00"


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One finished and evaluated run.

    Args:
        run_id: the id of its MLflow run.
        name: the name of its run, such as ``gru-s1``.
        params: as MLflow has them, text by name.
        metrics: last values by name, :data:`schema.OF_A_FINISHED_TRAINING` among them.
        history: a row per epoch, as ``training/history.csv``.
        answers: a row per test example, as ``evaluation/predictions.parquet``.
        tags: of its MLflow run: data, machine, versions.
        finished: when it ended, in milliseconds since 1970.
        reused: whether an earlier comparison trained it.
        address: of its page in the UI; empty where the store has none.
    """

    run_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    history: pd.DataFrame
    answers: pd.DataFrame
    tags: Mapping[str, str] = field(default_factory=dict)
    finished: int = 0
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
    """Runs of one configuration, one per seed, in the order of the seeds; ``label`` tells it from other groups."""

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
    """Return the groups, in the order of the cells, then of the params they differ in.

    Of several runs with the same configuration and seed, the one that ended last counts.
    """
    members: dict[tuple[tuple[str, str], ...], dict[int, Result]] = {}
    for result in sorted(results, key=lambda result: result.finished):
        members.setdefault(configuration(result.params), {})[result.seed] = result
    tables = [
        dict(shared) | {"recipe": next(iter(by_seed.values())).params.get("recipe", "")}
        for shared, by_seed in members.items()
    ]
    groups = []
    for table, by_seed in zip(tables, members.values(), strict=True):
        names = _differing([each for each in tables if each["cell"] == table["cell"]])
        label = ", ".join([table["cell"], *(f"{name} {table[name]}" for name in names if name in table)])
        group = Group(label=label, results=tuple(by_seed[seed] for seed in sorted(by_seed)))
        groups.append((_order(table, names), group))
    return [group for _, group in sorted(groups, key=lambda pair: pair[0])]


def recommended(groups: Sequence[Group]) -> Group:
    """Return the configuration that is recommended, tagged and registered: the best by validation.

    That is the highest mean of the best validation accuracies; among equals, the one with the fewest parameters.
    """
    return min(groups, key=rank)


def rank(group: Group) -> tuple[float, int]:
    """Return the key that sorts groups by validation, the recommended one first."""
    return -float(group.metrics[schema.BEST_VAL_ACCURACY].mean()), group.parameters


def configuration(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what the runs of a group share: names and values, sorted, with one spelling per value."""
    return tuple((name, _plain(text)) for name, text in sorted(params.items()) if name not in IGNORED_PARAMS)


def _plain(text: str) -> str:
    """Return one spelling of a value: `mlflow run` logs it as it was typed and quoted, ``1e-3`` for ``0.001``."""
    try:
        text = " ".join(shlex.split(text))
        return f"{float(text):.15g}"
    except ValueError:
        return text


def _differing(configurations: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names that tell configurations of one cell apart: the recipe alone where that suffices."""
    if len({each["recipe"] for each in configurations}) == len(configurations) > 1:
        return ["recipe"]
    names = sorted({name for each in configurations for name in each} - {"recipe"})
    return [name for name in names if len({each.get(name) for each in configurations}) > 1]


def _order(params: Mapping[str, str], names: Sequence[str]) -> tuple[Any, ...]:
    """Return the sort key of a configuration: by cell, unknown ones last, then by value, numbers by their size."""
    known = list(CELLS)
    values = [params.get(name, "") for name in names]
    numbers = [(float(value), "") if value.replace(".", "").isdecimal() else (math.inf, value) for value in values]
    return known.index(params["cell"]) if params["cell"] in known else len(known), params["cell"], numbers
