"""Groups and verdicts to one sentence: which to take, how sure that is, and what it costs.

Groups are ranked by validation; what the test images show decides only whether
a lead counts. A cheaper group is as good as could be shown where no difference
to the leading one is shown on the test images, and it is no further behind on
validation than two standard errors over seeds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.comparison.formatting import ratio_of, three_digits
from pipeline.comparison.grouping import Group, rank
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS, Verdict
from pipeline.comparison.timing import Timing, timing
from pipeline.tracking import schema

_STANDARD_ERRORS = 2
_CHEAPER = 0.8  # of the time; less than that is not worth a word


class Advice(NamedTuple):
    """Which group to take.

    Attributes:
        group: that one.
        leader: the best by validation; most often the same.
        reason: why, and what it costs, such as follows 'Take gru: '.
    """

    group: Group
    leader: Group
    reason: str

    @property
    def sentence(self) -> str:
        """The whole of it."""
        return f"Take {self.group.label}: {self.reason}."


def advice(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> Advice | None:
    """Return which group to take; None where there is only one."""
    if len(groups) == 1:
        return None
    measured, (leader, second, *_) = timing(groups), sorted(groups, key=rank)
    against = {verdict.second: verdict for verdict in verdicts if verdict.first == leader.label}
    if measured.comparable:
        equals = [group for group in groups if group is not leader and _as_good(leader, group, against[group.label])]
        cheapest = min([leader, *equals], key=lambda group: group.spread(measured.metric).mean)
        if cheapest.spread(measured.metric).mean <= _CHEAPER * leader.spread(measured.metric).mean:
            reason = f"{_equal(leader, cheapest, against[cheapest.label])}; {_costs(cheapest, leader, measured)}"
            return Advice(cheapest, leader, reason)
    reason = f"{_ahead(leader, second, against[second.label])}; {_costs(leader, second, measured)}"
    return Advice(leader, leader, reason)


def _as_good(leader: Group, group: Group, verdict: Verdict) -> bool:
    """Return whether a group is as good as the leading one, as far as could be shown."""
    if not verdict.tested or verdict.shown:
        return False
    pairs = zip(_validation(leader, verdict), _validation(group, verdict), strict=True)
    leads = [ours - theirs for ours, theirs in pairs]
    return float(np.mean(leads)) <= _STANDARD_ERRORS * float(np.std(leads, ddof=1)) / math.sqrt(len(leads))


def _validation(group: Group, verdict: Verdict) -> list[float]:
    return [result.metrics[schema.BEST_VAL_ACCURACY] for result in group.results if result.seed in verdict.seeds]


def _lead(leader: Group, other: Group) -> float:
    return leader.spread(schema.BEST_VAL_ACCURACY).mean - other.spread(schema.BEST_VAL_ACCURACY).mean


def _equal(leader: Group, other: Group, verdict: Verdict) -> str:
    return (
        f"as good on the test images as could be shown ({_power(verdict)}); {_place(leader, other, 'behind', leader)}"
    )


def _ahead(leader: Group, second: Group, verdict: Verdict) -> str:
    return f"{_place(leader, second, 'ahead of', second)}; on the test images {_on_test(verdict)}"


def _place(leader: Group, other: Group, word: str, named: Group) -> str:
    lead = _points(_lead(leader, other))
    return f"{'level with' if lead == _points(0) else f'{lead} {word}'} {named.label} on validation"


def _on_test(verdict: Verdict) -> str:
    """Return what the test images say of the first of two groups."""
    if verdict.difference is None:
        return "not to be compared without common seeds"
    if not verdict.tested:
        return f"not to be told apart with fewer than {FEWEST_SEEDS} seeds"
    if not verdict.shown:
        return f"no difference is shown ({_power(verdict)})"
    better = "better" if verdict.difference > 0 else "worse"
    return f"{better} by {100 * abs(verdict.difference):.2f} ± {_points(verdict.half_width)}"


def _power(verdict: Verdict) -> str:
    return f"{len(verdict.seeds)} seeds could have shown {_points(verdict.half_width)}"


def _costs(group: Group, other: Group, measured: Timing) -> str:
    """Return what a group takes beside another, such as 'it takes half of the time (9 s against 18 s) and …'."""
    parts = []
    if measured.comparable:
        ours, theirs = (each.spread(measured.metric).mean for each in (group, other))
        parts = [f"{ratio_of(ours, theirs, measured.noun)} ({_seconds(ours)} against {_seconds(theirs)})"]
    few, many = group.parameters, other.parameters
    parts += [f"{ratio_of(few, many, 'parameters')} ({few:,} against {many:,})"]
    return f"it takes {' and '.join(parts)}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f} points"


def _seconds(value: float) -> str:
    return f"{three_digits(value)} s"
