"""Finished trainings to groups and means: those whose configuration differs by the seed only make up a group.

Groups are ranked by validation alone.

Shapes: N test images. Accuracies are fractions of 1, costs nats, times seconds.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.cells import CELLS
from pipeline.digests import SHORT
from pipeline.evaluation.metrics import Labels
from pipeline.settings import WITHOUT_EFFECT
from pipeline.tracking import schema

IGNORED_PARAMS = WITHOUT_EFFECT | schema.COMMAND_OPTIONS | {"seed"}
"""What two trainings of one group may differ in; that their data is the same is held by its digest."""

_LONG_SECONDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One finished and evaluated training.

    Args:
        run_id: of its MLflow run.
        name: of its MLflow run, such as ``gru-s1``.
        cell: what was trained; it may be one that is not in :data:`CELLS`.
        seed: of the first weights and of the order of the images.
        params: as MLflow has them, text by name.
        metrics: last values by name, :data:`runs.OF_A_FINISHED_TRAINING` among them.
        history: a row per epoch, as ``training/history.csv``.
        labels: true classes of the test images, (N,).
        predicted: its answers, (N,).
        tags: of its MLflow run: data, machine, versions.
        finished: when it ended, in milliseconds since 1970.
        taken_over: whether it was trained by an earlier comparison.
        address: of its page in the UI; empty where the store has none.
    """

    run_id: str
    name: str
    cell: str
    seed: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    history: pd.DataFrame
    labels: Labels
    predicted: Labels
    tags: Mapping[str, str] = field(default_factory=dict)
    finished: int = 0
    taken_over: bool = False
    address: str = ""

    @property
    def cores(self) -> str:
        """Number of cores that the training had to itself; empty where it is not known."""
        return self.tags.get(schema.CORES, "")

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each test image is answered right, (N,)."""
        return np.asarray(self.labels == self.predicted)


class Spread(NamedTuple):
    """Mean and sample standard deviation (of one value: None)."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)

    def text(self, decimals: int = 2, *, scale: float = 1) -> str:
        """Return such as '98.74 ± 0.10', the values times ``scale``."""
        mean = f"{scale * self.mean:,.{decimals}f}"
        return mean if self.sd is None else f"{mean} ± {scale * self.sd:,.{decimals}f}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Trainings of one configuration, one per seed, ordered by it; ``label`` tells it from the other groups."""

    label: str
    cell: str
    results: tuple[Result, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(result.seed for result in self.results)

    @property
    def best(self) -> Result:
        """The training of the best validation accuracy."""
        return max(self.results, key=lambda result: result.metrics[schema.BEST_VAL_ACCURACY])

    def values(self, metric: str) -> list[float]:
        """Return a metric of each training, in the order of the seeds."""
        return [result.metrics[metric] for result in self.results]

    def spread(self, metric: str) -> Spread:
        """Return mean and standard deviation of a metric over the seeds."""
        return Spread.of(self.values(metric))

    @property
    def seconds_text(self) -> str:
        """Training time as a text, in seconds."""
        return self.seconds_of(schema.TRAIN_SECONDS)

    def seconds_of(self, metric: str) -> str:
        """Return a metric in seconds as a text, of more digits where it is short."""
        spread = self.spread(metric)
        return spread.text(1 if spread.mean >= _LONG_SECONDS else 2)

    @cached_property
    def epoch_seconds(self) -> float:
        """Median over all epochs of all seeds."""
        return float(np.median(np.concatenate([result.history["epoch_seconds"] for result in self.results])))

    @property
    def parameters(self) -> int:
        """Trainable weights."""
        return round(self.results[0].metrics[schema.PARAMETERS])


def grouped(results: Iterable[Result]) -> list[Group]:
    """Return the groups, in the order of the cells, then of the params they differ in.

    Of trainings of one configuration and seed the one that ended last counts.
    """
    members: dict[tuple[tuple[str, str], ...], dict[int, Result]] = {}
    for result in sorted(results, key=lambda result: result.finished):
        members.setdefault(configuration(result.params) + _version(result), {})[result.seed] = result
    recipes = {shared: by_seed[min(by_seed)].params.get("recipe", "") for shared, by_seed in members.items()}
    tables = {shared: dict(shared) | {"recipe": recipes[shared]} for shared in members}
    cells = {table["cell"] for table in tables.values()}
    differing = {cell: _differing([each for each in tables.values() if each["cell"] == cell]) for cell in cells}
    return [
        Group(
            label=_label(tables[shared], differing[tables[shared]["cell"]]),
            cell=by_seed[min(by_seed)].cell,
            results=tuple(by_seed[seed] for seed in sorted(by_seed)),
        )
        for shared, by_seed in sorted(members.items(), key=lambda item: _order(tables[item[0]], differing))
    ]


def best_by_validation(groups: Sequence[Group]) -> Group:
    """Return the group of the highest mean best validation accuracy; among equals, of the fewest parameters."""
    return min(groups, key=rank)


def rank(group: Group) -> tuple[float, int]:
    """Return what sorts groups by validation, the best first; among equals, that of the fewest parameters."""
    return -group.spread(schema.BEST_VAL_ACCURACY).mean, group.parameters


def configuration(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what makes trainings one group: names and values, sorted, one spelling per value."""
    return tuple((name, _plain(text)) for name, text in sorted(params.items()) if name not in IGNORED_PARAMS)


def _version(result: Result) -> tuple[tuple[str, str], ...]:
    """Return which file of a cell of one's own was trained: another one is another network.

    Not a value of :func:`configuration`, which would take a digest such as 1e234567 for a number.
    """
    digest = result.tags.get(schema.CELL_FILE)
    return ((schema.CELL_FILE, digest[:SHORT]),) if digest else ()


def _plain(text: str) -> str:
    """Return one spelling of a value: `mlflow run` logs it as it was typed and quoted, ``1e-3`` for ``0.001``."""
    try:
        text = " ".join(shlex.split(text))
        return f"{float(text):.15g}"
    except ValueError:
        return text


def _differing(configurations: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names that tell configurations of one cell apart: the recipe alone where that does."""
    if len({each["recipe"] for each in configurations}) == len(configurations) > 1:
        return ["recipe"]
    names = sorted({name for each in configurations for name in each} - {"recipe"})
    return [name for name in names if len({each.get(name) for each in configurations}) > 1]


def _label(params: Mapping[str, str], differing: Sequence[str]) -> str:
    return ", ".join([params["cell"], *(f"{name} {params[name]}" for name in differing if name in params)])


def _order(params: Mapping[str, str], differing: Mapping[str, Sequence[str]]) -> tuple[Any, ...]:
    """Return what sorts configurations: by cell, unknown ones last, then numbers by their size, not by their digits."""
    cell, known = params["cell"], list(CELLS)
    place = known.index(cell) if cell in known else len(known)
    return place, cell, [_number_first(params.get(name, "")) for name in differing[cell]]


def _number_first(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text
