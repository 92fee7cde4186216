"""What a page shows: groups, what was found of them, and what was at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.comparison import pairwise_tests, recommendation, tables, timing
from pipeline.comparison.grouping import Group, Result
from pipeline.comparison.pairwise_tests import Verdict
from pipeline.comparison.recommendation import Advice
from pipeline.comparison.timing import Timing

GALLERY_LIMIT = 48
"""Images that are shown of those that all get wrong."""

PAIRS_LIMIT = 6
"""Pairs up to which all of them are shown at once; four groups make up six."""

CLASSES_LIMIT = 40
"""Classes up to which confusion matrices are shown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a page shows.

    Args:
        groups: at least one, all tested on the same images.
        class_names: C of them.
        images: of the test split, (N, H, W), 0 to 255; None where they are not at hand.
        failures: reasons by the names of trainings that broke down.
    """

    groups: Sequence[Group]
    class_names: Sequence[str]
    images: NDArray[np.uint8] | None = None
    failures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def results(self) -> list[Result]:
        """The trainings of all groups."""
        return [result for group in self.groups for result in group.results]

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """On every two groups."""
        return pairwise_tests.verdicts(self.groups)

    @cached_property
    def main_verdicts(self) -> list[Verdict]:
        """All verdicts, or where they are too many to look at, those on the group that is best by validation."""
        if len(self.verdicts) <= PAIRS_LIMIT:
            return self.verdicts
        return [verdict for verdict in self.verdicts if verdict.first == self.verdicts[0].first]

    @cached_property
    def other_verdicts(self) -> list[Verdict]:
        """The rest of them."""
        main = {id(verdict) for verdict in self.main_verdicts}
        return [verdict for verdict in self.verdicts if id(verdict) not in main]

    @cached_property
    def advice(self) -> Advice | None:
        """Which group to take; None where there is only one."""
        return recommendation.advice(self.groups, self.verdicts)

    @cached_property
    def timing(self) -> Timing:
        """Which seconds compare."""
        return timing.timing(self.groups)

    @property
    def has_matrices(self) -> bool:
        """Whether there are few enough classes to show what is taken for what."""
        return len(self.class_names) <= CLASSES_LIMIT

    @cached_property
    def shown_wrong(self) -> NDArray[np.intp]:
        """The images that all get wrong, at most :data:`GALLERY_LIMIT`; those come first that most agree on."""
        positions = tables.wrong_in_all(self.groups)
        agreement = [-tables.answers(self.groups, int(position))[0][1] for position in positions]
        return positions[np.argsort(agreement, kind="stable")][:GALLERY_LIMIT]
