"""A comparison against an existing model: better, worse, no significant difference, or undecided."""

from collections.abc import Sequence

from pipeline.comparison import grouping, pairwise_tests, selection
from pipeline.comparison.formatting import points
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS, PairwiseTest
from pipeline.digests import SHORT
from pipeline.errors import RegressionError, UsageError
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS
from pipeline.tracking import models, schema, store

BETTER, SAME, WORSE, UNDECIDED = "better", "no significant difference", "worse", "undecided"
"""The results of a regression check."""


def reference(given: str, digest: str) -> Group:
    """Return what a comparison is checked against.

    Args:
        given: the address of a model, such as ``models:/mnist-gru@champion``, the id of a training run, or the id of a
            comparison, of which the recommended configuration counts.
        digest: of the data that both must share.

    Raises:
        TrackingError: there is no such run or model, or none that is trained and evaluated.
        UsageError: it is of other data.
    """
    run = store.get_run(models.run_of(given) if ":/" in given else given)
    selected = selection.of_runs([run.run_id]) if run.is_training else selection.of_parent(run.run_id)
    found = selected.results[0].tags.get(schema.DATASET_DIGEST, "")
    if found != digest:
        raise UsageError(
            f"against must be trained on the same data ({digest[:SHORT]}); {given!r} was trained on other data "
            f"({found[:SHORT]}). {', '.join(sorted(DATA_PARAMETERS))} choose the data."
        )
    return grouping.recommended(selected.groups)


def check(
    comparison: str, groups: Sequence[Group], former: Group, name: str, reporter: Reporter, *, register: str | None
) -> None:
    """Compare the recommended group with what was there before, keep the result on the comparison's run, and report it.

    Args:
        comparison: the id of the comparison's run.
        groups: its groups, of which the recommended one counts.
        former: what it is checked against.
        name: of that, as the user named it.
        reporter: is told the result.
        register: the name by which the model is registered unless it is worse.

    Raises:
        RegressionError: it is worse.
    """
    test = pairwise_tests.between(grouping.recommended(groups), former, borrow=True)
    found, sentence = result(test, name)
    store.log_tags(comparison, {schema.AGAINST: name, schema.STANDING: found})
    if found == WORSE:
        registered = f" It is not registered as {register}." if register else ""
        raise RegressionError(f"against: {sentence}{registered} Run {comparison} holds the report.")
    reporter.result(sentence)


def result(test: PairwiseTest, name: str) -> tuple[str, str]:
    """Return how the first group of a test compares to the second, which is called ``name``: in short, and in words."""
    found, difference = f"{test.first} against {name}", f"{points(test.difference)} points"
    if test.interval is None:
        return UNDECIDED, f"{found}: {UNDECIDED} ({difference}). Train at least {FEWEST_SEEDS} seeds to decide."
    standing = SAME if not test.is_significant else BETTER if test.difference > 0 else WORSE
    return standing, f"{found}: {standing}, {difference} (95 % interval {' to '.join(map(points, test.interval))})."
