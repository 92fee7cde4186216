"""The table of charts on a comparison page, with the place, drawing function and caption of each.

Every chart in :data:`CHARTS` is on the page, and next to it as PNG. A new chart takes a function and an entry
here. Charts are narrow enough to be read on a phone at full width. A group has the colour of its cell; groups of one
cell differ by line and marker.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from pipeline.comparison.grouping import Group
from pipeline.comparison.report_data import ReportData
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT, INK
from pipeline.tracking import schema

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""Matplotlib's name of each marker, and the character that looks like it."""

_HEIGHT = 3.0  # inches, of a chart without its legend
_LINE = 0.2  # inches, of a line of text
_WIDTH = 4.4  # inches; 317 points, at most the CSS pixels of a column of the page, so that a point is at least a pixel
_LINES = ("-", "--", ":", "-.")
_LETTERS = 16  # maximum number in a line of the label of a row, and half of those in a line of a legend
_LEAST_ERROR = 0.05  # %; a logarithmic axis has no place for 0
_TEXT: dict[str, Any] = {"fontsize": 11, "color": INK}


def styles(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return colour, line and marker of each group: the colour of its cell, and the next line and marker."""
    colours = figures.colours([group.cell for group in groups])
    places = [sum(other.cell == group.cell for other in groups[:index]) for index, group in enumerate(groups)]
    return [
        {
            "color": colours[group.cell],
            "linestyle": _LINES[place % len(_LINES)],
            "marker": [*MARKERS][place % len(MARKERS)],
        }
        for group, place in zip(groups, places, strict=True)
    ]


def accuracies(data: ReportData) -> Figure:
    """Draw test accuracies: a row per group, each seed a dot, mean and standard deviation as a bar with whiskers."""
    figure, axes = _rows([group.label for group in data.groups], "test accuracy (%)")
    for row, (group, style) in enumerate(zip(data.groups, styles(data.groups), strict=True)):
        values, bar = 100 * group.metrics[schema.TEST_ACCURACY], {"color": style["color"], "linewidth": 2}
        axes.errorbar(
            values.mean(), row, xerr=values.std(), fmt="|", markersize=16, markeredgewidth=2, capsize=4, **bar
        )
        dot = style | {"linestyle": "", "markersize": 6.5, "markeredgecolor": "white", "zorder": 3}
        axes.plot(values, [row] * len(values), label=group.label, **dot)
    return figure


def differences(data: ReportData) -> Figure:
    """Draw the difference of test accuracies of each pair with its interval, next to the line of no difference.

    Differences that are not significant or not tested are faint. For more than four groups, these are the pairs of the
    recommended group, and rows name the other group only.
    """
    tests = data.main_tests
    pairs = [f"{test.first} − {test.second}" if len(tests) == len(data.tests) else f"− {test.second}" for test in tests]
    figure, axes = _rows(pairs, "difference (percentage points)")
    axes.axvline(0, color=INK, linewidth=1)
    for row, test in enumerate(tests):
        colour = INK if test.is_significant else FAINT
        ends = np.array(test.interval or (test.difference, test.difference))
        axes.plot(100 * ends, [row] * 2, color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([100 * test.difference], [row], "o", color=colour, markersize=6)
    return figure


def validation_accuracies(data: ReportData) -> Figure:
    """Draw validation accuracy by epoch, on a logarithmic axis of errors: 90 to 99 % is as long as 99 to 99.9 %."""
    errors = [(100 - 100 * group.history(schema.VAL_ACCURACY)).clip(lower=_LEAST_ERROR) for group in data.groups]
    figure, axes = _curves(data, errors, "validation accuracy (%, log scale)")
    axes.invert_yaxis()
    axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:.4g}")
    return figure


def training_costs(data: ReportData) -> Figure:
    """Draw training cost by epoch."""
    return _curves(data, [group.history(schema.COST) for group in data.groups], "training cost (nats, log scale)")[0]


def _curves(data: ReportData, histories: Sequence[pd.DataFrame], label: str) -> tuple[Figure, Axes]:
    """Draw values by epoch on a logarithmic axis: the mean over seeds as a line, lowest to highest as a band."""
    figure, axes = _chart(_HEIGHT)
    for group, values, style in zip(data.groups, histories, styles(data.groups), strict=True):
        axes.fill_between(values.index, values.min(axis=1), values.max(axis=1), color=style["color"], alpha=0.2, lw=0)
        axes.plot(values.mean(axis=1), label=group.label, linewidth=1.8, **style | {"marker": ""})
    figures.epoch_axis(axes, 1, max(map(len, histories)))
    axes.set(ylabel=label, yscale="log")
    plain_logarithmic(axes.yaxis)
    _place_legend(figure, axes)
    return figure, axes


def accuracy_by_seconds(data: ReportData) -> Figure:
    """Draw test accuracy against seconds of training: each seed a faint dot, the mean of a group a large one."""
    figure, axes = _chart(_HEIGHT)
    for group, style in zip(data.groups, styles(data.groups), strict=True):
        seconds, accuracies = group.metrics[schema.TRAIN_SECONDS], 100 * group.metrics[schema.TEST_ACCURACY]
        dot = style | {"linestyle": ""}
        axes.plot(seconds, accuracies, markersize=4.5, alpha=0.5, **dot)
        axes.plot(seconds.mean(), accuracies.mean(), markersize=9, label=group.label, **dot)
    axes.set(xlabel="training time (s)", ylabel="test accuracy (%)", xlim=(0, None))
    _place_legend(figure, axes)
    return figure


# --- the table ------------------------------------------------------------------------------------------------------

_BAND = "Line: mean over seeds. Band: lowest to highest seed."


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        name: name of its file.
        section: section of the page that contains it.
        title: its heading.
        caption: how to read it.
        draw: function that draws it.
        applies: whether there is anything to draw.
    """

    name: str
    section: Literal["accuracy", "curves", "time"]
    title: str
    caption: str
    draw: Callable[[ReportData], Figure]
    applies: Callable[[ReportData], bool] = lambda _: True


CHARTS = (
    Chart(
        name="test_accuracy",
        section="accuracy",
        title="Test accuracy",
        caption="Small marks: single seeds. Vertical line: their mean; whiskers: ± one standard deviation.",
        draw=accuracies,
    ),
    Chart(
        name="differences",
        section="accuracy",
        title="Differences of test accuracy",
        caption="Dot: difference; line: its 95% interval. Faint: not significant, or not tested.",
        draw=differences,
        applies=lambda data: len(data.groups) > 1,
    ),
    Chart(
        name="validation_accuracy",
        section="curves",
        title="Validation accuracy",
        caption=f"{_BAND} Logarithmic scale of errors: 90 to 99% is as long as 99 to 99.9%.",
        draw=validation_accuracies,
        applies=lambda data: data.has_curves,
    ),
    Chart(
        name="training_cost",
        section="curves",
        title="Training cost",
        caption=_BAND,
        draw=training_costs,
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


# --- the look of a chart --------------------------------------------------------------------------------------------


def _chart(height: float) -> tuple[Figure, Axes]:
    """Return an empty chart, in the look of the page."""
    figure = figures.empty_figure(_WIDTH, height)
    axes = figure.subplots()
    figures.tidy(axes)
    axes.tick_params(labelsize=_TEXT["fontsize"], labelcolor=INK, color=FAINT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(**_TEXT)
    return figure, axes


def _rows(labels: Sequence[str], unit: str) -> tuple[Figure, Axes]:
    """Return a chart with a row per label, from the top."""
    texts = [textwrap.fill(label, _LETTERS) for label in labels]
    lines = max(text.count("\n") + 1 for text in texts)
    figure, axes = _chart(0.7 + len(labels) * _LINE * (lines + 1))
    axes.set_yticks(range(len(labels)), texts)
    axes.set(xlabel=unit, ylim=(len(labels) - 0.5, -0.5))
    axes.grid(axis="x", color=figures.GRID, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    return figure, axes


def _place_legend(figure: Figure, axes: Axes) -> None:
    """Put a legend above the axes."""
    handles, labels = axes.get_legend_handles_labels()
    texts = [textwrap.fill(label, 2 * _LETTERS) for label in labels]
    figure.set_figheight(_HEIGHT + _LINE * "\n".join([*texts, ""]).count("\n"))
    figure.legend(
        handles,
        texts,
        loc="outside upper left",
        frameon=False,
        fontsize=_TEXT["fontsize"],
        labelcolor=INK,
        labelspacing=0.25,
    )


def plain_logarithmic(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, 0.05 instead of 5 × 10⁻²."""
    low, high = axis.get_view_interval()
    # If fewer ticks were allowed, matplotlib would draw none where it would have to leave some out.
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=50))
    axis.set_major_formatter("{x:g}")
    axis.minorticks_off()
