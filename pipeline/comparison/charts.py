"""The table of charts on a comparison page: the place, drawing and caption of each.

Every chart in :data:`CHARTS` is on the page, and next to it as PNG. A new chart takes a function and an entry
here. Charts are narrow enough to be read on a phone at full width. A group has the colour of its cell; groups of one
cell differ by line and marker.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline.comparison.grouping import Group, points
from pipeline.comparison.report_data import ReportData
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT, INK
from pipeline.tracking import schema

HEIGHT = 2.8  # inches, of a chart without its legend
FONT_POINTS = 11
SURFACE = "#FFFFFF"
MARKERS = ("o", "s", "^", "D", "v", "P")

_WIDTH = 4.4  # inches; 317 points, at most the CSS pixels of a column of the page, so that a point is at least a pixel
_LINES = ("-", "--", ":", "-.")
_LETTERS = 34  # of a line of a label, and of all labels in one row of a legend
_STEEP = 8  # largest error to smallest, from which on accuracies are drawn by their errors
_FEWEST_ERRORS = 0.0005  # by which that axis ends beyond 100 %
_ACCURACY_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1)
_ROW, _LINE = 0.55, 0.19  # inches: of a row with one line of label, and of each further line


def styles(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return colour, line and marker of each group: the cell's colour, the others by its place among that cell's."""
    colours = figures.colours([group.cell for group in groups])
    places = [sum(other.cell == group.cell for other in groups[:index]) for index, group in enumerate(groups)]
    return [
        {
            "color": colours[group.cell],
            "linestyle": _LINES[place % len(_LINES)],
            "marker": MARKERS[place % len(MARKERS)],
        }
        for group, place in zip(groups, places, strict=True)
    ]


def dots(groups: Sequence[Group], metric: str, label: str, scale: float = 1) -> Figure:
    """Draw a metric: a row per group, each seed a dot, mean and standard deviation as a bar with whiskers."""
    figure, axes = rows([group.label for group in groups])
    for row, (group, style) in enumerate(zip(groups, styles(groups), strict=True)):
        values = scale * group.metrics[metric]
        colour, mean = style["color"], values.mean()
        axes.errorbar(mean, row, xerr=values.std(), color=colour, linewidth=2, capsize=4, capthick=2)
        axes.plot([mean] * 2, [row - 0.2, row + 0.2], color=colour, linewidth=2.5)
        spots = row + np.linspace(-0.08, 0.08, len(values)) * (len(values) > 1)
        look: dict[str, Any] = {"markersize": 6.5, "markeredgecolor": SURFACE, "markeredgewidth": 0.8, "zorder": 3}
        axes.plot(values, spots, label=group.label, **style | look | {"linestyle": ""})
        write_row(axes, row, group.label, group.text(metric))
    axes.set_xlabel(label)
    return figure


def differences(data: ReportData) -> Figure:
    """Draw the difference of test accuracies of each pair with its interval, next to the line of no difference.

    Faint are differences that are not significant or not tested. More than all pairs of four groups are too many: then
    these are the pairs of the recommended group, and rows name the other group only.
    """
    tests = data.main_tests
    pairs = [f"{test.first} − {test.second}" if len(tests) == len(data.tests) else f"− {test.second}" for test in tests]
    figure, axes = rows(pairs)
    axes.axvline(0, color=INK, linewidth=1)
    for row, (test, label) in enumerate(zip(tests, pairs, strict=True)):
        colour = INK if test.is_significant else FAINT
        ends = test.interval or (test.difference, test.difference)
        axes.plot([100 * end for end in ends], [row] * 2, color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([100 * test.difference], [row], "o", color=colour, markersize=6)
        write_row(axes, row, label, points(test.difference))
    axes.set_xlabel("difference (percentage points)")
    return figure


def curves(groups: Sequence[Group], column: str, label: str, scale: Callable[[Axes], None]) -> Figure:
    """Draw a column of the histories by epoch: the mean over seeds as a line, lowest to highest as a band."""
    figure, axes = chart(HEIGHT)
    for group, style in zip(groups, styles(groups), strict=True):
        values = group.history(column)
        axes.fill_between(values.index, values.min(axis=1), values.max(axis=1), color=style["color"], alpha=0.2, lw=0)
        look: dict[str, Any] = style | {"marker": "", "linewidth": 1.8, "label": group.label}
        axes.plot(values.mean(axis=1), **look)
    figures.epoch_axis(axes, 1, max(len(group.history(column)) for group in groups))
    axes.set_ylabel(label)
    scale(axes)
    place_legend(figure, axes)
    return figure


def scale_costs(axes: Axes) -> None:
    """Make the upright axis a logarithmic one."""
    axes.set_yscale("log")
    plain_logarithmic(axes.yaxis)


def scale_accuracies(axes: Axes) -> None:
    """Show fractions on the upright axis in percent; a steep rise by its errors: 90 to 99 is as far as 99 to 99.9."""
    low, high = axes.dataLim.intervaly
    if 1 - low > _STEEP * max(1 - high, _FEWEST_ERRORS):
        ceiling = 1 + _FEWEST_ERRORS  # so that 100 % has a place
        scale = lambda accuracy: -np.log10(np.maximum(ceiling - accuracy, 1e-9)), lambda place: ceiling - 10.0**-place
        axes.set_yscale("function", functions=scale)
        axes.yaxis.set_major_locator(FixedLocator(_ACCURACY_TICKS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def accuracy_by_seconds(data: ReportData) -> Figure:
    """Draw test accuracy against seconds of training: each seed a faint dot, the mean of a group a large one."""
    figure, axes = chart(HEIGHT)
    for group, style in zip(data.groups, styles(data.groups), strict=True):
        seconds, accuracies = group.metrics[data.timing.metric], 100 * group.metrics[schema.TEST_ACCURACY]
        dot: dict[str, Any] = style | {"linestyle": "", "markeredgecolor": SURFACE}
        axes.plot(seconds, accuracies, markersize=4.5, alpha=0.5, **dot)
        axes.plot([seconds.mean()], [accuracies.mean()], markersize=9, label=group.label, zorder=3, **dot)
    axes.set_xlim(left=0)
    axes.set(xlabel=f"training {data.timing.noun} (s)", ylabel="test accuracy (%)")
    place_legend(figure, axes)
    return figure


# --- the table ------------------------------------------------------------------------------------------------------

Section = Literal["accuracy", "curves", "time"]
"""A section of the page that holds charts."""

_DOTS = "Small marks: single seeds. Bar: their mean; whiskers: ± one standard deviation."
_BAND = "Line: mean over seeds. Band: lowest to highest seed."


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        name: of its file.
        section: where it stands on the page.
        title: its heading.
        caption: how to read it.
        draw: how it is drawn.
        applies: whether there is anything to draw.
    """

    name: str
    section: Section
    title: str
    caption: str
    draw: Callable[[ReportData], Figure]
    applies: Callable[[ReportData], bool] = lambda _: True


CHARTS = (
    Chart(
        name="test_accuracy",
        section="accuracy",
        title="Test accuracy",
        caption=_DOTS,
        draw=lambda data: dots(data.groups, schema.TEST_ACCURACY, "test accuracy (%)", 100),
    ),
    Chart(
        name="test_cost",
        section="accuracy",
        title="Test cost",
        caption=_DOTS,
        draw=lambda data: dots(data.groups, schema.TEST_COST, "test cost (nats)"),
    ),
    Chart(
        name="differences",
        section="accuracy",
        title="Differences of test accuracy",
        caption="Bar: confidence interval. Faint: not significant, or not tested.",
        draw=differences,
        applies=lambda data: len(data.groups) > 1,
    ),
    Chart(
        name="validation_accuracy",
        section="curves",
        title="Validation accuracy",
        caption=_BAND,
        draw=lambda data: curves(data.groups, schema.VAL_ACCURACY, "validation accuracy (%)", scale_accuracies),
        applies=lambda data: data.has_curves,
    ),
    Chart(
        name="training_cost",
        section="curves",
        title="Training cost",
        caption=_BAND,
        draw=lambda data: curves(data.groups, schema.COST, "training cost (nats, log scale)", scale_costs),
        applies=lambda data: data.has_curves,
    ),
    Chart(
        name="accuracy_by_seconds",
        section="time",
        title="Accuracy against time",
        caption="Small marks: single seeds. Large mark: their mean. Up and left is better.",
        draw=accuracy_by_seconds,
    ),
)


def drawn(data: ReportData) -> dict[Chart, Figure]:
    """Return the charts that have something to show, and their figures."""
    return {chart: chart.draw(data) for chart in CHARTS if chart.applies(data)}


# --- the look of a chart, also for those of a search ----------------------------------------------------------------


def chart(height: float) -> tuple[Figure, Axes]:
    """Return an empty chart, in the look of the page."""
    figure = figures.empty_figure(_WIDTH, height)
    axes = figure.subplots()
    figures.tidy(axes)
    axes.tick_params(labelsize=FONT_POINTS, labelcolor=INK, color=FAINT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=FONT_POINTS)
    return figure, axes


def rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Return a chart with a row per label, from the top, each with room for its label above it."""
    lines = max(len(_wrapped(label)) for label in labels)
    row = _ROW + _LINE * (lines - 1)
    figure, axes = chart(max(row * len(labels) + 0.7, HEIGHT))
    axes.set_ylim(len(labels) - 0.6, -0.3 - 0.4 * lines * _ROW / row)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=figures.GRID, linewidth=0.8)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    return figure, axes


def write_row(axes: Axes, row: int, label: str, value: str) -> None:
    """Write the row's name on the left above its dots, and its number on the right."""
    look: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "va": "bottom",
        "fontsize": FONT_POINTS,
        "color": INK,
        "bbox": {"facecolor": SURFACE, "edgecolor": "none", "pad": 1},  # the line of no difference may pass there
    }
    axes.annotate("\n".join(_wrapped(label)), (0, row - 0.25), ha="left", **look)
    axes.annotate(value, (1, row - 0.25), ha="right", **look)


def place_legend(figure: Figure, axes: Axes) -> None:
    """Put a legend above the axes, in as many columns as its labels leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    texts = ["\n".join(_wrapped(label)) for label in labels]
    columns = max(1, min(len(labels), _LETTERS // (max(map(len, labels)) + 4)))
    lines = max(text.count("\n") + 1 for text in texts) * math.ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * lines)
    look: dict[str, Any] = {"frameon": False, "fontsize": FONT_POINTS, "labelcolor": INK, "handlelength": 2.2}
    figure.legend(handles, texts, loc="outside upper left", ncols=columns, markerscale=0.8, **look)


def plain_logarithmic(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, 0.05 instead of 5 × 10⁻²."""
    low, high = axis.get_view_interval()
    # With fewer ticks allowed, matplotlib draws none where it would have to leave some out.
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=50))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _wrapped(label: str) -> list[str]:
    return textwrap.wrap(label, _LETTERS) or [""]
