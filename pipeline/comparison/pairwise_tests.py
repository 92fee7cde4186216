"""Groups to verdicts: which of two is better on the test images, as far as that can be shown.

Two groups are compared over the seeds that both have, in two ways, since two
things are left to chance: which seeds were taken (a paired t interval over
the seeds) and which test images (a paired bootstrap over the images). A
difference counts as shown only when neither interval covers zero, and with
fewer than three seeds none does. Where several pairs are compared, their
intervals are as wide as Holm's procedure asks. ``docs/comparing.md`` says why.

Shapes: N test images, S seeds. Accuracies are fractions of 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from pipeline.comparison.formatting import count_of
from pipeline.comparison.grouping import Group, Result, rank

ALPHA = 0.05
"""The chance of calling any pair of a comparison different, by accident, where none is."""

FEWEST_SEEDS, GOOD_SEEDS = 3, 5
"""Seeds below which there is no verdict, and those that show about half of what the fewest do."""


class Interval(NamedTuple):
    """A confidence interval of a difference of accuracies, in fractions."""

    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether no difference at all is among what the interval holds possible."""
        return self.low <= 0 <= self.high

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the test says about two groups, over the seeds that both have.

    Args:
        first: a group's label.
        second: another's.
        seeds: that both have; may be none.
        images: of the test split.
        difference: mean test accuracy of the first less that of the second; None without common seeds.
        over_seeds: paired t interval; None with too few seeds.
        over_images: paired bootstrap interval; None without common seeds.
        level: the chance that each interval misses the difference; Holm's of this pair.
        p_value: the larger of both tests', adjusted for the number of pairs; None with too few seeds.
        seeds_for_half: seeds that would show half of :attr:`half_width`; None where the images would not.
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    images: int = 0
    difference: float | None = None
    over_seeds: Interval | None = None
    over_images: Interval | None = None
    level: float = ALPHA
    p_value: float | None = None
    seeds_for_half: int | None = None

    @property
    def tested(self) -> bool:
        """Whether there are seeds enough to tell."""
        return self.over_seeds is not None and self.over_images is not None

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: both intervals exist, and neither covers zero."""
        intervals = (self.over_seeds, self.over_images)
        return all(interval is not None and not interval.covers_zero for interval in intervals)

    @property
    def half_width(self) -> float:
        """Half of the wider interval, a fraction: the smallest difference that can be shown; without any, 0."""
        return max((interval.half for interval in (self.over_seeds, self.over_images) if interval), default=0.0)

    @property
    def words(self) -> str:
        """The verdict, such as 'gru better than lstm by 0.12 ± 0.08 points' (percentage points)."""
        if self.difference is None:
            return "no common seeds: they cannot be compared"
        if not self.tested:
            return f"{self.too_few}: it takes at least {FEWEST_SEEDS}, better {GOOD_SEEDS}"
        if not self.shown:
            return f"no difference shown with {len(self.seeds)} seeds, {self._power}"
        better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
        return f"{better} better than {worse} by {100 * abs(self.difference):.2f} ± {100 * self.half_width:.2f} points"

    @property
    def too_few(self) -> str:
        """What there is too little of, such as '2 seeds are too few to tell'."""
        return f"{count_of(len(self.seeds), 'seed')} {'is' if len(self.seeds) == 1 else 'are'} too few to tell"

    @property
    def _power(self) -> str:
        if not self.half_width:
            return "which are right equally often on every image"
        able = f"which could have shown {100 * self.half_width:.2f} points"
        if self.seeds_for_half is None:
            return f"{able}; to show half of that takes more test images than {self.images:,}"
        return f"{able}; {self.seeds_for_half} seeds would show {50 * self.half_width:.2f}"


def sentence(verdict: Verdict) -> str:
    """Return a verdict as a sentence that names both groups."""
    if verdict.shown:
        return f"{verdict.words}."
    return f"{verdict.first} and {verdict.second}: {verdict.words}."


def verdict(first: Group, second: Group) -> Verdict:
    """Compare two groups, as if there were no others."""
    pair = _Pair.of(first, second)
    return pair.verdict(ALPHA, pair.p_value)


def verdicts(groups: Sequence[Group]) -> list[Verdict]:
    """Compare every two groups, the better one by validation named first, and that one's pairs before the others."""
    pairs = list(combinations(sorted(groups, key=rank), 2))
    # What is worked out for a pair is worked out twice rather than kept: hundreds of groups make tens of thousands.
    p_values = [_Pair.of(first, second).p_value for first, second in pairs]
    steps = iter(holm([p_value for p_value in p_values if p_value is not None]))
    return [
        _Pair.of(first, second).verdict(*(Step(ALPHA, None) if p_value is None else next(steps)))
        for (first, second), p_value in zip(pairs, p_values, strict=True)
    ]


class Step(NamedTuple):
    """What Holm's procedure says of one of several tests: the level at which it stands, and its adjusted p-value.

    None where there was no test.
    """

    level: float
    p_value: float | None


def holm(p_values: Sequence[float]) -> list[Step]:
    """Return the steps of Holm's procedure (1979), in the order of the tests.

    The tests pass in the order of their p-values, the smallest at ALPHA / their number, the next at ALPHA / the number
    of those left, and so on; all from the first that does not pass stand at its level. So a test passes exactly where
    its p-value is below its level, and where its adjusted p-value is below ALPHA.
    """
    levels, adjusted = dict[int, float](), dict[int, float]()
    level, highest, going = ALPHA, 0.0, True
    for done, test in enumerate(sorted(range(len(p_values)), key=lambda test: p_values[test])):
        left = len(p_values) - done
        level = ALPHA / left if going else level
        going = going and p_values[test] < level
        highest = max(highest, min(left * p_values[test], 1.0))
        levels[test], adjusted[test] = level, highest
    return [Step(levels[test], adjusted[test]) for test in range(len(p_values))]


# --- one pair -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What two groups differ in, over their common seeds."""

    first: str
    second: str
    seeds: tuple[int, ...]
    differences: NDArray[np.float64]  # (S,) of accuracies
    votes: NDArray[np.int64]  # (N,) seeds that are right with the first, less those with the second

    @classmethod
    def of(cls, first: Group, second: Group) -> "_Pair":
        seeds = tuple(sorted(set(first.seeds) & set(second.seeds)))
        ours, theirs = (_right(group.results, seeds) for group in (first, second))  # (S, N)
        return cls(
            first=first.label,
            second=second.label,
            seeds=seeds,
            differences=(ours - theirs).mean(axis=1),
            votes=(ours - theirs).sum(axis=0),
        )

    @property
    def p_value(self) -> float | None:
        """That a difference so large arises by chance: the larger of both tests', since both must show it."""
        if len(self.seeds) < FEWEST_SEEDS:
            return None
        return max(t_p_value(self.differences), self._resampled.p_value)

    @property
    def _resampled(self) -> "Resampled":
        return Resampled.of(self.votes, len(self.seeds))

    def verdict(self, level: float, p_value: float | None) -> Verdict:
        """Return the verdict at a level, with an adjusted p-value."""
        if not self.seeds:
            return Verdict(first=self.first, second=self.second, seeds=(), images=len(self.votes))
        over_images = self._resampled.interval(level)
        over_seeds = t_interval(self.differences, level) if p_value is not None else None
        return Verdict(
            first=self.first,
            second=self.second,
            seeds=self.seeds,
            images=len(self.votes),
            difference=float(self.differences.mean()),
            over_seeds=over_seeds,
            over_images=over_images,
            level=level,
            p_value=p_value,
            seeds_for_half=self._seeds_for_half(over_seeds, over_images, level) if over_seeds else None,
        )

    def _seeds_for_half(self, over_seeds: Interval, over_images: Interval, level: float) -> int | None:
        """Return how many seeds would show half of what these do; None where the images leave more than that open."""
        half = max(over_seeds.half, over_images.half) / 2
        if over_images.half > half:
            return None
        deviation = float(self.differences.std(ddof=1))
        return next(seeds for seeds in count(len(self.seeds)) if t_half_width(seeds, deviation, level) <= half)


def _right(results: Sequence[Result], seeds: Sequence[int]) -> NDArray[np.int64]:
    """Return whether the trainings with these seeds are right on each image, as 1 and 0, (S, N)."""
    right = [result.right for result in results if result.seed in seeds]
    return np.array(right, np.int64).reshape(len(seeds), len(results[0].labels))


# --- over seeds -----------------------------------------------------------------------------------------------------


def t_half_width(seeds: int, deviation: float, level: float) -> float:
    """Return half the width of a t interval of a mean, from the standard deviation of single seeds."""
    return float(stats.t.ppf(1 - level / 2, seeds - 1) * deviation / math.sqrt(seeds))


def t_interval(differences: NDArray[np.floating[Any]], level: float = ALPHA) -> Interval:
    """Return the paired t interval of the mean of differences (S,), S ≥ 2."""
    mean, half = float(differences.mean()), t_half_width(len(differences), float(differences.std(ddof=1)), level)
    return Interval(mean - half, mean + half)


def t_p_value(differences: NDArray[np.floating[Any]]) -> float:
    """Return the two-sided p-value of the paired t test of differences (S,), S ≥ 2; without any difference 1."""
    mean, error = abs(float(differences.mean())), float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if not mean:
        return 1.0
    return 2 * float(stats.t.sf(mean / error, len(differences) - 1)) if error else 0.0


# --- over images ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """The bootstrap of a mean difference over N test images: where it would lie if N of them were drawn anew.

    Not drawn, but computed exactly, as if drawn without end.

    Attributes:
        values: that the mean can take, ascending, fractions; 0 is in their middle.
        below: the chance of each or a lower one, from 0 to 1.
    """

    values: NDArray[np.float64]
    below: NDArray[np.float64]

    @classmethod
    def of(cls, votes: NDArray[np.integer[Any]], seeds: int) -> "Resampled":
        """Return it for the seeds that are right with one group less those with another, (N,), each from −S to S."""
        most = seeds * len(votes)
        shares = np.bincount(votes + seeds, minlength=2 * seeds + 1) / len(votes)
        # The sum of N independent draws: its distribution is that of one, convolved N times with itself.
        length = fft.next_fast_len(2 * most + 1, real=True)
        chances = fft.irfft(fft.rfft(shares, length) ** len(votes), length)[: 2 * most + 1]
        return cls(values=np.arange(-most, most + 1) / most, below=np.cumsum(chances))

    def interval(self, level: float = ALPHA) -> Interval:
        """Return the percentile interval."""
        low, high = np.searchsorted(self.below, [level / 2, 1 - level / 2])
        return Interval(float(self.values[low]), float(self.values[high]))

    @property
    def p_value(self) -> float:
        """The level at which the interval just reaches zero."""
        zero = len(self.values) // 2
        at_most, at_least = self.below[zero], 1 - self.below[zero - 1]
        return float(np.clip(2 * min(at_most, at_least), 0, 1))
