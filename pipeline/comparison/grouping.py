"""Finished trainings to groups, means, and verdicts on which group is better.

Trainings whose configuration differs by the seed only make up a group. Two
groups are compared over the seeds that both have, in two ways, since two
things are left to chance: which seeds were taken (a paired t interval over
the seeds) and which test images (a paired bootstrap over the images). A
difference counts as shown only when neither interval covers zero.

Which group is recommended is decided by validation alone.

Shapes: N test images, S seeds. Accuracies are fractions of 1, costs nats,
times seconds.
"""

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pipeline.cells import Cell
from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import Labels
from pipeline.settings import WITHOUT_EFFECT

CONFIDENCE = 0.95
RESAMPLES = 10_000
BOOTSTRAP_SEED = 1

IGNORED_PARAMS = WITHOUT_EFFECT | {"seed"}
"""What two trainings of one group may differ in; that their data is the same is held by its digest."""

_LONG_SECONDS = 10

REQUIRED_METRICS = (
    *("test_accuracy", "test_cost", "best_val_accuracy", "best_epoch"),
    *("train_seconds", "parameters"),
)
"""What a training must have logged before it can be compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One finished and evaluated training.

    Args:
        run_id: of its MLflow run.
        name: of its MLflow run, such as ``gru-s1``.
        cell: what was trained.
        seed: of the first weights and of the order of the images.
        params: as MLflow has them, text by name.
        metrics: last values by name, :data:`REQUIRED_METRICS` among them.
        history: a row per epoch, as ``training/history.csv``.
        labels: true classes of the test images, (N,).
        predicted: its answers, (N,).
        tags: of its MLflow run: data, machine, versions.
        finished: when it ended, in milliseconds since 1970.
        taken_over: whether it was trained by an earlier comparison.
    """

    run_id: str
    name: str
    cell: Cell
    seed: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    history: pd.DataFrame
    labels: Labels
    predicted: Labels
    tags: Mapping[str, str] = field(default_factory=dict)
    finished: int = 0
    taken_over: bool = False

    @property
    def cores(self) -> str:
        """Number of cores that the training had to itself; empty where it is not known."""
        return self.tags.get("cores", "")

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
    cell: Cell
    results: tuple[Result, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(result.seed for result in self.results)

    def values(self, metric: str) -> list[float]:
        """Return a metric of each training, in the order of the seeds."""
        return [result.metrics[metric] for result in self.results]

    def spread(self, metric: str) -> Spread:
        """Return mean and standard deviation of a metric over the seeds."""
        return Spread.of(self.values(metric))

    @property
    def seconds_text(self) -> str:
        """Training time as a text, in seconds, of more digits where it is short."""
        spread = self.spread("train_seconds")
        return spread.text(1 if spread.mean >= _LONG_SECONDS else 2)

    @cached_property
    def epoch_seconds(self) -> float:
        """Median over all epochs of all seeds."""
        return float(np.median(np.concatenate([result.history["epoch_seconds"] for result in self.results])))

    @property
    def parameters(self) -> int:
        """Trainable weights."""
        return round(self.results[0].metrics["parameters"])


def three_digits(value: float) -> str:
    """Return a number that is not negative with three significant digits: '0.0123', '1.00', '150'."""
    decimals = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:,.{max(decimals, 0)}f}"


def grouped(results: Iterable[Result]) -> list[Group]:
    """Return the groups, in the order of the cells, then of the params they differ in.

    Of trainings of one configuration and seed the one that ended last counts.
    """
    members: dict[tuple[tuple[str, str], ...], dict[int, Result]] = {}
    for result in sorted(results, key=lambda result: result.finished):
        members.setdefault(configuration(result.params), {})[result.seed] = result
    recipes = {shared: by_seed[min(by_seed)].params.get("recipe", "") for shared, by_seed in members.items()}
    tables = {shared: dict(shared) | {"recipe": recipes[shared]} for shared in members}
    by_cell = {cell: [each for each in tables.values() if each["cell"] == cell] for cell in get_args(Cell)}
    differing = {cell: _differing(of_cell) for cell, of_cell in by_cell.items()}
    return [
        Group(
            label=_label(tables[shared], differing[tables[shared]["cell"]]),
            cell=by_seed[min(by_seed)].cell,
            results=tuple(by_seed[seed] for seed in sorted(by_seed)),
        )
        for shared, by_seed in sorted(members.items(), key=lambda item: _order(tables[item[0]], differing))
    ]


def recommended(groups: Sequence[Group]) -> Group:
    """Return the group of the highest mean best validation accuracy; among equals, of the fewest parameters."""
    return min(groups, key=_rank)


def _rank(group: Group) -> tuple[float, int]:
    return -group.spread("best_val_accuracy").mean, group.parameters


def configuration(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what makes trainings one group: names and values, sorted, one spelling per value."""
    return tuple((name, _plain(text)) for name, text in sorted(params.items()) if name not in IGNORED_PARAMS)


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
    """Return what sorts configurations: by cell, then numbers by their size, not by their digits."""
    cell = params["cell"]
    return get_args(Cell).index(cell), [_number_first(params.get(name, "")) for name in differing[cell]]


def _number_first(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text


# --- verdicts -------------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A 95 % confidence interval of a difference of accuracies, in fractions."""

    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether no difference at all is among what the interval holds possible."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the test says about two groups, over the seeds that both have.

    Args:
        first: a group's label.
        second: another's.
        seeds: that both have; may be none.
        difference: mean test accuracy of the first less that of the second; None without common seeds.
        over_seeds: paired t interval; None with fewer than two seeds.
        over_images: paired bootstrap interval; None without common seeds.
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    difference: float | None = None
    over_seeds: Interval | None = None
    over_images: Interval | None = None

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: both intervals exist, and neither covers zero."""
        intervals = (self.over_seeds, self.over_images)
        return all(interval is not None and not interval.covers_zero for interval in intervals)

    @property
    def half_width(self) -> float:
        """Half the width of the wider interval, a fraction; 0 where there is none."""
        intervals = [interval for interval in (self.over_seeds, self.over_images) if interval]
        return max(((interval.high - interval.low) / 2 for interval in intervals), default=0.0)

    @property
    def words(self) -> str:
        """The verdict, such as 'gru better than lstm by 0.12 ± 0.08 points' (percentage points)."""
        if self.difference is None:
            return "no common seeds: they cannot be compared"
        if self.over_seeds is None:
            return "one seed: no difference can be shown"
        if not self.shown:
            return f"no difference shown with {len(self.seeds)} seeds"
        better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
        return f"{better} better than {worse} by {100 * abs(self.difference):.2f} ± {100 * self.half_width:.2f} points"


def verdict(first: Group, second: Group) -> Verdict:
    """Compare two groups over their common seeds."""
    seeds = tuple(sorted(set(first.seeds) & set(second.seeds)))
    ours, theirs = ([result for result in group.results if result.seed in seeds] for group in (first, second))
    if not seeds:
        return Verdict(first=first.label, second=second.label, seeds=())
    differences = np.array([a.right.mean() - b.right.mean() for a, b in zip(ours, theirs, strict=True)])  # (S,)
    return Verdict(
        first=first.label,
        second=second.label,
        seeds=seeds,
        difference=float(differences.mean()),
        over_seeds=t_interval(differences) if len(seeds) > 1 else None,
        over_images=bootstrap_interval(_image_differences(ours, theirs)),
    )


def verdicts(groups: Sequence[Group]) -> list[Verdict]:
    """Compare every two groups, the better one by validation named first, and the recommended one's pairs first."""
    return [verdict(first, second) for first, second in combinations(sorted(groups, key=_rank), 2)]


def t_interval(differences: NDArray[np.floating[Any]]) -> Interval:
    """Return the paired t interval of the mean of differences (S,), S ≥ 2."""
    count, mean = len(differences), float(differences.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * differences.std(ddof=1) / math.sqrt(count))
    return Interval(mean - half, mean + half)


def bootstrap_interval(differences: NDArray[np.floating[Any]]) -> Interval:
    """Return the percentile bootstrap interval of the mean of differences (N,), one per image.

    The differences take few distinct values. How often each of them is drawn
    is multinomial, so that is drawn: the same distribution as drawing N images.
    """
    values, counts = np.unique(differences, return_counts=True)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.multinomial(len(differences), counts / len(differences), size=RESAMPLES)  # (RESAMPLES, values)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn @ values / len(differences), [tail, 100 - tail])
    return Interval(float(low), float(high))


def _image_differences(ours: Sequence[Result], theirs: Sequence[Result]) -> NDArray[np.float64]:
    """Return, of each image, the share of seeds that are right with the first less that with the second, (N,)."""
    # Whole numbers first: shares that are equal must be equal to the last bit, to count as one value.
    votes = np.sum([result.right for result in ours], axis=0) - np.sum([result.right for result in theirs], axis=0)
    return np.asarray(votes / len(ours))


# --- tables ---------------------------------------------------------------------------------------------------------


def runs_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per training; accuracies are fractions, costs nats, times seconds."""
    return pd.DataFrame(
        [
            {
                "group": group.label,
                "name": result.name,
                "seed": result.seed,
                "run_id": result.run_id,
                **{metric: result.metrics[metric] for metric in REQUIRED_METRICS},
                "epochs": len(result.history),
                "epoch_seconds": float(result.history["epoch_seconds"].median()),
                "cores": result.cores,
                "taken_over": result.taken_over,
            }
            for group in groups
            for result in group.results
        ]
    ).astype({"best_epoch": int, "parameters": int})


def summary_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per group: means and standard deviations (of one seed: missing) over the seeds, in those units."""
    best = recommended(groups)
    spreads = ("test_accuracy", "test_cost", "best_val_accuracy", "train_seconds")
    return pd.DataFrame(
        [
            {
                "group": group.label,
                "seeds": len(group.seeds),
                **{f"{name}_{part}": value for name in spreads for part, value in group.spread(name)._asdict().items()},
                "epoch_seconds_median": group.epoch_seconds,
                "parameters": group.parameters,
                "recommended": group is best,
            }
            for group in groups
        ]
    )


def verdicts_table(of: Sequence[Verdict]) -> pd.DataFrame:
    """Return a row per pair: difference of test accuracies, bounds of both intervals (fractions), and the words."""
    columns = ("difference", "seeds_low", "seeds_high", "images_low", "images_high")
    rows = [
        {
            "first": verdict.first,
            "second": verdict.second,
            "seeds": len(verdict.seeds),
            **dict(
                zip(
                    columns,
                    (verdict.difference, *_bounds(verdict.over_seeds), *_bounds(verdict.over_images)),
                    strict=True,
                )
            ),
            "verdict": verdict.words,
        }
        for verdict in of
    ]
    return pd.DataFrame(rows, columns=["first", "second", "seeds", *columns, "verdict"])


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def history_table(group: Group, column: str) -> pd.DataFrame:
    """Return mean, lowest and highest of a column of the histories: a row per epoch.

    Columns: epoch, mean, low, high. Each epoch is over the seeds that reached it.
    """
    rows = pd.concat([result.history[["epoch", column]] for result in group.results])
    table = rows.groupby("epoch")[column].agg(["mean", "min", "max"]).reset_index()
    return table.set_axis(["epoch", "mean", "low", "high"], axis=1)


# --- answers --------------------------------------------------------------------------------------------------------


def wrong_in_all(groups: Sequence[Group]) -> NDArray[np.intp]:
    """Return the positions of the test images that every training of every group gets wrong, ascending."""
    right = [result.right for group in groups for result in group.results]
    return np.flatnonzero(~np.any(right, axis=0))


def answers(groups: Sequence[Group], image: int) -> list[tuple[int, int]]:
    """Return what groups say of an image: (class, number of trainings that say it), the most said first."""
    said = Counter(int(result.predicted[image]) for group in groups for result in group.results)
    return sorted(said.items(), key=lambda answer: (-answer[1], answer[0]))


def confusion(group: Group, classes: int) -> NDArray[np.int64]:
    """Return (C, C) counts summed over the seeds: images of the row's class taken for the column's."""
    matrices = [metrics.confusion(result.labels, result.predicted, classes) for result in group.results]
    return np.asarray(np.sum(matrices, axis=0))


def largest_error_share(matrices: Iterable[NDArray[np.integer[Any]]]) -> float:
    """Return the largest share of a true class that is taken for one other class, in any of the matrices."""
    return max((_error_share(matrix) for matrix in matrices), default=0.0)


def _error_share(matrix: NDArray[np.integer[Any]]) -> float:
    return float(metrics.row_shares(matrix)[~np.eye(len(matrix), dtype=bool)].max(initial=0))
