"""The charts of a page, all in one table: where each stands, how it is drawn, and what is said of it.

Whatever is entered in :data:`CHARTS` stands on the page and beside it as PNG and SVG; a chart that is not entered is
nowhere. A new one takes a function in ``drawing`` and an entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from pipeline.comparison import plots, tables
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import sentence
from pipeline.comparison.report_data import Contents
from pipeline.tracking import schema

Section = Literal["accuracy", "curves", "time"]
"""A section of the page that holds charts."""

Words = Callable[[Contents], str]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        name: of its files.
        section: where it stands on the page; None: the page shows the same as HTML, so it is files only.
        title: the heading it stands below.
        draw: how it is drawn.
        caption: how to read it.
        description: what it shows, for those who do not see it.
        applies: whether there is something to be drawn.
    """

    name: str
    section: Section | None = None
    title: str = ""
    draw: Callable[[Contents], Figure]
    caption: Words = lambda _: ""
    description: Words = lambda _: ""
    applies: Callable[[Contents], bool] = lambda _: True


def _dots(_: Contents) -> str:
    return "Small marks: one seed each. Bar: mean; whiskers: ± one standard deviation."


def _band(_: Contents) -> str:
    return "Line: mean over seeds. Band: lowest to highest seed."


def _of_differences(contents: Contents) -> str:
    drawn = contents.main_verdicts
    of_best = "" if len(drawn) == len(contents.verdicts) else f"{drawn[0].first} less each of the others. "
    few = "" if all(verdict.tested for verdict in drawn) else ", or the seeds are too few"
    return f"{of_best}Faint: the interval covers zero{few}. A difference is shown where neither of a pair is faint."


def _by_seconds(contents: Contents) -> str:
    read = "Small: one seed each. Large: their mean. Up and left is better."
    return read if contents.timing.comparable else f"{read} {contents.timing.said}"


def _wrong_in_all(contents: Contents) -> Figure:
    assert contents.images is not None  # noqa: S101 - where there are none, there is no such chart
    return plots.wrong_in_all(contents.groups, contents.images, contents.shown_wrong, contents.class_names)


def _accuracy(contents: Contents) -> str:
    return _listed(contents.groups, schema.TEST_ACCURACY, 2, scale=100, unit=" %")


def _seconds(contents: Contents) -> str:
    return _listed(contents.groups, contents.timing.metric, 1, unit=" s")


CHARTS = (
    Chart(
        name="test_accuracy",
        section="accuracy",
        title="Test accuracy",
        draw=lambda contents: plots.accuracies(contents.groups),
        caption=_dots,
        description=lambda contents: f"Test accuracy, mean ± standard deviation over seeds. {_accuracy(contents)}",
    ),
    Chart(
        name="differences",
        section="accuracy",
        title="Differences, and how sure they are",
        draw=lambda contents: plots.differences(contents.main_verdicts),
        caption=_of_differences,
        description=lambda contents: (
            "Differences of test accuracies. " + " ".join(map(sentence, contents.main_verdicts))
        ),
        applies=lambda contents: len(contents.groups) > 1,
    ),
    Chart(
        name="validation_accuracy",
        section="curves",
        title="Validation accuracy",
        draw=lambda contents: plots.validation_accuracies(contents.groups),
        caption=_band,
        description=lambda contents: (
            "Best validation accuracy. " + _listed(contents.groups, schema.BEST_VAL_ACCURACY, 2, scale=100, unit=" %")
        ),
    ),
    Chart(
        name="training_cost",
        section="curves",
        title="Training cost",
        draw=lambda contents: plots.training_costs(contents.groups),
        caption=_band,
        description=lambda contents: "Training cost by epoch, mean over seeds. " + _last_costs(contents.groups),
    ),
    Chart(
        name="test_cost",
        section="curves",
        title="Test cost",
        draw=lambda contents: plots.costs(contents.groups),
        caption=_dots,
        description=lambda contents: (
            "Test cost, mean ± standard deviation over seeds. "
            + _listed(contents.groups, schema.TEST_COST, 4, unit=" nats")
        ),
    ),
    Chart(
        name="accuracy_by_seconds",
        section="time",
        title="Accuracy against time",
        draw=lambda contents: plots.accuracy_by_seconds(
            contents.groups, metric=contents.timing.metric, noun=contents.timing.noun
        ),
        caption=_by_seconds,
        description=lambda contents: (
            f"Test accuracy against {contents.timing.noun} of training. {_accuracy(contents)} {_seconds(contents)}"
        ),
    ),
    Chart(
        name="confusion_matrices",
        draw=lambda contents: plots.confusions(contents.groups, contents.class_names),
        applies=lambda contents: contents.has_matrices,
    ),
    Chart(
        name="wrong_in_all",
        draw=_wrong_in_all,
        applies=lambda contents: contents.images is not None and len(contents.shown_wrong) > 0,
    ),
)


def drawn(contents: Contents) -> dict[Chart, Figure]:
    """Return the charts that there is something to be drawn in, and their figures."""
    return {chart: chart.draw(contents) for chart in CHARTS if chart.applies(contents)}


def _listed(groups: Sequence[Group], metric: str, decimals: int, *, scale: float = 1, unit: str) -> str:
    """Return such as 'gru 98.74 ± 0.10 %, lstm 98.75 ± 0.09 %.'."""
    parts = [f"{group.label} {group.spread(metric).text(decimals, scale=scale)}{unit}" for group in groups]
    return f"{', '.join(parts)}."


def _last_costs(groups: Sequence[Group]) -> str:
    last = [(group.label, tables.history_table(group, schema.COST).iloc[-1]) for group in groups]
    return ", ".join(f"{label} {row['mean']:.4f} nats after epoch {row['epoch']:.0f}" for label, row in last) + "."
