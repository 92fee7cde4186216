"""A comparison against what is there already: better than that, equal within the interval, or worse.

For a team's continuous integration: the judgement is on the test images alone, by the paired bootstrap of
:mod:`pipeline.comparison.pairwise_tests`. The trainings on either side may be of other seeds, and of any number.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.comparison import grouping, selection
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import Interval, Resampled
from pipeline.comparison.selection import Selection
from pipeline.digests import SHORT
from pipeline.errors import RegressionError, UsageError
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS
from pipeline.tracking import models, schema, store


class Standing(StrEnum):
    """How one group stands to another."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "worse"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the test images say of a group, against another.

    Attributes:
        group: the label of the one that is judged.
        reference: what it is judged against, as it was named.
        difference: its mean test accuracy less that of the reference, a fraction.
        interval: of the difference, over images, at 95 %.
    """

    group: str
    reference: str
    difference: float
    interval: Interval

    @property
    def standing(self) -> Standing:
        """Better or worse only where the interval does not cover zero."""
        if self.interval.covers_zero:
            return Standing.EQUAL
        return Standing.BETTER if self.difference > 0 else Standing.WORSE

    @property
    def sentence(self) -> str:
        """The judgement in words, in percentage points."""
        low, high = (f"{100 * bound:+.2f}" for bound in self.interval)
        words = {
            Standing.BETTER: f"{self.group} is better than",
            Standing.EQUAL: f"{self.group} is equal, as far as these images show, to",
            Standing.WORSE: f"{self.group} is worse than",
        }
        return f"{words[self.standing]} {self.reference}: {100 * self.difference:+.2f} points ({low} to {high})."


def reference(given: str, digest: str) -> Group:
    """Return what a comparison is judged against.

    Args:
        given: the address of a model, such as ``models:/mnist-gru@champion``, the id of a training, or that of a
            comparison, of which the best by validation counts.
        digest: of the data that both must share.

    Raises:
        TrackingError: there is no such run or model, or none that is trained and evaluated.
        UsageError: it is of other data.
    """
    run = store.get_run(models.run_of(given) if ":/" in given else given)
    selected = Selection(run_ids=[run.run_id]) if run.is_training else selection.of_parent(run.run_id)
    results, _ = selection.results_of(selected)
    found = results[0].tags.get(schema.DATASET_DIGEST, "")
    if found != digest:
        raise UsageError(
            f"against: expected trainings on the same data ({digest[:SHORT]}), received {given!r}, on other "
            f"({found[:SHORT]}). {', '.join(sorted(DATA_PARAMETERS))} choose the data."
        )
    return grouping.best_by_validation(grouping.grouped(results))


def check(comparison: str, best: Group, former: Group, name: str, reporter: Reporter) -> None:
    """Judge the best group of a comparison against what was there before; keep the judgement on its run, and tell it.

    Raises:
        RegressionError: it is worse.
    """
    judgement = judge(best, former, name)
    store.log_tags(comparison, {schema.AGAINST: name, schema.STANDING: judgement.standing})
    if judgement.standing is Standing.WORSE:
        raise RegressionError(f"against: {judgement.sentence} All trainings have ended, and the report is made.")
    reporter.result(judgement.sentence)


def judge(group: Group, other: Group, name: str) -> Judgement:
    """Return how a group stands to another, by the test images (N,) that both have answered.

    Args:
        group: that is judged.
        other: that it is judged against.
        name: of the other, to be shown.
    """
    ours, theirs = _right(group), _right(other)
    votes = ours * len(other.results) - theirs * len(group.results)
    resampled = Resampled.of(votes, len(group.results) * len(other.results))
    return Judgement(
        group=group.label,
        reference=name,
        difference=float(votes.mean()) / (len(group.results) * len(other.results)),
        interval=resampled.interval(),
    )


def _right(group: Group) -> NDArray[np.int64]:
    """Return how many trainings of a group are right on each test image, (N,)."""
    right: NDArray[np.int64] = np.sum([result.right for result in group.results], axis=0, dtype=np.int64)
    return right
