"""Groups and pairwise tests to the recommendation: the best by validation, or undecided, and what a decision takes."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.tracking import schema

_NEAR_CHANCE = 0.1  # of the way from guessing to perfect
_REMEDY = "Train longer, or check the parameters and the data."


class Recommendation(NamedTuple):
    """Which configuration to take.

    Attributes:
        group: the best by validation, which is also the one that is tagged and registered.
        is_decided: whether it is significantly better than each of the others on the test images.
        headline: 'Take gru' or 'Undecided: gru leads'.
        reason: what that rests on, in sentences.
    """

    group: Group
    is_decided: bool
    headline: str
    reason: str

    @property
    def sentence(self) -> str:
        """Headline and reason."""
        return f"{self.headline}. {self.reason}".rstrip()


def recommendation(groups: Sequence[Group], tests: Sequence[PairwiseTest]) -> Recommendation:
    """Return the recommendation.

    Args:
        groups: at least one.
        tests: of every two of them, the better by validation first.
    """
    leader, *others = sorted(groups, key=grouping.rank)
    weak = [group.label for group in groups if is_near_chance(group)]
    if leader.label in weak:
        return Recommendation(leader, False, "Undecided: test accuracies are near chance", _REMEDY)
    if not others:
        return Recommendation(leader, False, leader.label, "There is nothing to compare it with.")
    tests = [test for test in tests if test.first == leader.label]
    undecided = [test for test in tests if not test.is_significant or test.difference < 0]
    gain = leader.metrics[schema.BEST_VAL_ACCURACY].mean() - others[0].metrics[schema.BEST_VAL_ACCURACY].mean()
    reasons = [
        f"It leads on validation by {100 * gain:.2f} points.",
        f"On the test images: {(undecided or tests)[0].sentence}",
    ]
    reasons += [f"Also undecided: {', '.join(test.second for test in undecided[1:])}."] if undecided[1:] else []
    reasons += [f"Near chance: {', '.join(weak)}. {_REMEDY}"] if weak else []
    headline = f"Undecided: {leader.label} leads" if undecided else f"Take {leader.label}"
    return Recommendation(leader, not undecided, headline, " ".join(reasons))


def is_near_chance(group: Group) -> bool:
    """Return whether a group is hardly better than guessing, by balanced accuracy: guessing reaches 1 / classes."""
    chance = 1 / len(group.results[0].class_names)
    return bool(group.metrics[schema.TEST_BALANCED_ACCURACY].mean() - chance < _NEAR_CHANCE * (1 - chance))
