"""Groups to verdicts: which of two is better on the test images, as far as that can be shown.

Two groups are compared over the seeds that both have, in two ways, since two
things are left to chance: which seeds were taken (a paired t interval over
the seeds) and which test images (a paired bootstrap over the images). A
difference counts as shown only when neither interval covers zero.

Shapes: N test images, S seeds. Accuracies are fractions of 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.comparison.grouping import Group, Result, rank

CONFIDENCE = 0.95
RESAMPLES = 10_000
BOOTSTRAP_SEED = 1


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


def sentence(verdict: Verdict) -> str:
    """Return a verdict as a sentence that names both groups."""
    if verdict.shown:
        return f"{verdict.words}."
    return f"{verdict.first} and {verdict.second}: {verdict.words}."


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
    return [verdict(first, second) for first, second in combinations(sorted(groups, key=rank), 2)]


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
