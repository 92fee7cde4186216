"""Tests for significant differences in test accuracy, between groups and from an existing model.

Seeds and test examples are crossed random effects: all runs classify the same examples. The variance of a difference
of two mean accuracies is split into a part from the seeds and a part from the images, each with the quantile for its
degrees of freedom. ``docs/comparing.md`` explains the test and shows, by simulation, how often it is wrong.

Shapes: N test examples, S seeds. Accuracies and differences are fractions of 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group
from pipeline.disk import SHORT
from pipeline.errors import RegressionError, UsageError
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS
from pipeline.tracking import models, schema, store

ALPHA = 0.05
"""The maximum probability of calling any pair of a comparison different if none is."""

FEWEST_SEEDS, GOOD_SEEDS = 3, 5
"""The minimum number of seeds for a test, and the recommended number."""

_SMALLEST = -100  # exponent of ten of the smallest p-value above 0 that is computed; its quantiles do not overflow


HalfWidth = Callable[[float], float]
"""Returns half the width of the 1 − level interval of a difference; a fraction."""


@dataclass(frozen=True, kw_only=True)
class PairwiseTest:
    """The test of two groups.

    Args:
        first: the label of a group.
        second: the label of another.
        seeds: the number of seeds from which their variation is known; the smaller one, if they differ.
        difference: mean test accuracy of the first minus the second.
        half_width_at: half the width of its interval by level; None if there are too few seeds.
        level: level at which the pair is tested; by Holm's procedure if there are several pairs.
        p_value: p-value adjusted for the number of pairs; None if there are too few seeds.
    """

    first: str
    second: str
    seeds: int
    difference: float
    half_width_at: HalfWidth | None
    level: float = ALPHA
    p_value: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below ALPHA."""
        return self.p_value is not None and self.p_value < ALPHA

    @cached_property
    def half_width(self) -> float | None:
        """Half the width of the confidence interval: the smallest difference that is significant; a fraction."""
        return None if self.half_width_at is None else self.half_width_at(self.level)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The confidence interval; it excludes zero exactly where the difference is significant."""
        half = self.half_width
        return None if half is None else (self.difference - half, self.difference + half)

    @property
    def sentence(self) -> str:
        """The result, such as 'gru is better than lstm by 0.12 ± 0.08 points.' (percentage points)."""
        pair = f"{self.first} and {self.second}"
        if self.half_width is None:
            return f"{pair} cannot be tested with fewer than {FEWEST_SEEDS} seeds each; {GOOD_SEEDS} are better."
        if self.is_significant:
            better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
            points_and_half = f"{100 * abs(self.difference):.2f} ± {100 * self.half_width:.2f} points"
            return f"{better} is better than {worse} by {points_and_half}."
        if not self.half_width:
            return f"{pair} do not differ: all seeds are right on the same examples."
        verb = "trails" if self.difference < 0 else "leads"
        return (
            f"{self.first} {verb} {self.second} by {100 * abs(self.difference):.2f} points, which is not significant: "
            f"with {self.seeds} seeds that vary this much, a difference must be at least {100 * self.half_width:.2f} "
            "points."
        )


def pairwise_tests(groups: Sequence[Group]) -> list[PairwiseTest]:
    """Test every pair of groups, in their order: the better one by validation is the first of a pair."""
    tests = [between(first, second) for first, second in combinations(groups, 2)]
    steps = iter(holm([test.p_value for test in tests if test.p_value is not None]))
    for place, test in enumerate(tests):
        if test.p_value is not None:
            level, p_value = next(steps)
            tests[place] = replace(test, level=level, p_value=p_value)
    return tests


def holm(p_values: Sequence[float]) -> list[tuple[float, float]]:
    """Return the level and the adjusted p-value of each test by Holm's procedure (1979), in their order.

    The smallest p-value passes below ALPHA / their number, the next one below ALPHA / the number of those left, and so
    on; all tests from the first that fails are held to its level.
    """
    order = np.argsort(p_values, kind="stable")
    left = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(left * np.asarray(p_values, float)[order]), 1.0)
    first_failed = int((adjusted < ALPHA).sum())
    levels = ALPHA / np.maximum(left, left[min(first_failed, len(left) - 1)]) if len(left) else left
    places = np.argsort(order)
    return [(float(levels[place]), float(adjusted[place])) for place in places]


def between(first: Group, second: Group, *, borrow: bool = False) -> PairwiseTest:
    """Test two groups as if there were no others.

    Common seeds are paired where there are enough, since runs with the same seed see the images in the same order.

    Args:
        first: a group.
        second: another group, tested on the same images.
        borrow: whether a group with too few seeds takes its variance over seeds from the other.
    """
    common = sorted(set(first.seeds) & set(second.seeds))
    is_paired = len(common) >= FEWEST_SEEDS
    ours, theirs = (
        group.is_right[np.isin(group.seeds, common if is_paired else group.seeds)].astype(float)
        for group in (first, second)
    )
    enough = [each for each in (ours, theirs) if len(each) >= FEWEST_SEEDS]
    samples = [(each, 1 / len(each)) for each in enough] if len(enough) > 1 else []
    if is_paired:
        samples = [(ours - theirs, 1 / len(common))]
    elif borrow and len(enough) == 1:
        samples = [(enough[0], 1 / len(ours) + 1 / len(theirs))]
    votes = ours.mean(axis=0) - theirs.mean(axis=0)
    half_width_at = _half_width(samples, votes) if samples else None
    return PairwiseTest(
        first=first.label,
        second=second.label,
        seeds=min(len(values) for values, _ in samples or [(ours, 1.0), (theirs, 1.0)]),
        difference=float(votes.mean()),
        half_width_at=half_width_at,
        p_value=None if half_width_at is None else _p_value(float(votes.mean()), half_width_at),
    )


def _half_width(samples: Sequence[tuple[NDArray[np.float64], float]], votes: NDArray[np.float64]) -> HalfWidth:
    """Return half the width of the interval of a difference, by level.

    The variance from the seeds, a value per sample, contains the interaction of seeds and images. The variance from the
    images does not shrink with more seeds.

    Args:
        samples: values by seed and image, (S, N), and the weight of their variance over seeds in it.
        votes: the difference by image, (N,); its variance contains the interaction of seeds and images.
    """
    of_seeds, interaction = [], 0.0
    for values, weight in samples:
        by_seed = values.mean(axis=1, keepdims=True)
        residuals = values - by_seed - values.mean(axis=0) + values.mean()
        of_seeds.append(weight * float(by_seed.var(ddof=1)))
        interaction += weight * float((residuals**2).sum()) / ((len(values) - 1) * (len(votes) - 1))
    of_images = max(float(votes.var(ddof=1)) - interaction, 0.0) / len(votes)
    squares = sum(each**2 / (len(values) - 1) for each, (values, _) in zip(of_seeds, samples, strict=True))
    freedom = sum(of_seeds) ** 2 / squares if squares else 1.0  # the formula of Welch and Satterthwaite

    def half_width(level: float) -> float:
        quantiles = special.stdtrit([freedom, len(votes) - 1], level / 2)
        return float(np.sqrt(quantiles**2 @ [sum(of_seeds), of_images]))

    return half_width


def _p_value(difference: float, half_width: HalfWidth) -> float:
    """Return the level at which the interval just reaches zero."""
    if not difference:
        return 1.0

    def excess(exponent: float) -> float:
        return half_width(10**exponent) - abs(difference)

    return 10 ** float(optimize.brentq(excess, _SMALLEST, 0, xtol=1e-12)) if excess(_SMALLEST) > 0 else 0.0


# --- against an existing model ----------------------------------------------------------------------------------------


def reference(given: str, digest: str) -> Group:
    """Return the configuration that a comparison is checked against.

    Args:
        given: URI of a model, such as ``models:/mnist-gru@champion``, ID of a training run, or ID of a comparison,
            which stands for its recommended configuration.
        digest: digest of the data, which must be the same.

    Raises:
        TrackingError: there is no such run or model, or none that is trained and evaluated.
        UsageError: it was trained on other data.
    """
    run = store.get_run(models.run_of(given) if ":/" in given else given)
    (group, *_), _ = grouping.select_runs([run]) if run.is_training else grouping.select_children(run)
    found = group.results[0].tags.get(schema.DATASET_DIGEST, "")
    if found != digest:
        raise UsageError(
            f"against: must be trained on the same data ({digest[:SHORT]}); {given!r} was trained on other data "
            f"({found[:SHORT]}). {', '.join(sorted(DATA_PARAMETERS))} choose the data."
        )
    return group


def check_regression(
    comparison: str, group: Group, former: Group, name: str, reporter: Reporter, *, register: str | None
) -> None:
    """Compare the recommended group with an existing one, log the result on the comparison's run, and report it.

    Args:
        comparison: ID of the comparison's run.
        group: its recommended group.
        former: the existing configuration.
        name: how the user named the existing configuration.
        reporter: receives the result.
        register: name under which the model is registered unless it is worse.

    Raises:
        RegressionError: the recommended group is worse.
    """
    test = replace(between(group, former, borrow=True), second=name)
    standing, sentence = "not tested", f"Train at least {FEWEST_SEEDS} seeds to decide."
    if test.p_value is not None:
        standing = (
            ("better" if test.difference > 0 else "worse") if test.is_significant else "no significant difference"
        )
        sentence = test.sentence
    store.log_tags(comparison, {"against": name, "standing": standing})
    if standing == "worse":
        registered = f" It is not registered as {register}." if register else ""
        raise RegressionError(f"against: worse. {sentence}{registered} The report is on run {comparison}.")
    reporter.result(f"against: {standing}. {sentence}")
