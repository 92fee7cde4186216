"""Groups of trainings to figures: one chart each, narrow enough to be read on a phone at full width.

A group has the colour of its cell; groups of one cell differ by line and
marker. Charts carry no title, since they stand below headings.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from pipeline.comparison import tables
from pipeline.comparison.formatting import count_of, points
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import Verdict
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT, INK
from pipeline.evaluation.metrics import Labels
from pipeline.tracking import schema

WIDTH = 4.4  # inches; 317 points, about the CSS pixels of a phone's column
SURFACE = "#FFFFFF"

LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")

LABEL_POINTS = 10
TICK_POINTS = 9
_SMALL_POINTS = 7.5  # of labels too long for the others' size
_LONG = 34  # letters of such a label
_LEGEND_LETTERS = 38  # of all labels in one row of a legend
_LOGARITHMIC_FROM = 8  # largest value to smallest beyond which seconds, or errors, are drawn on a logarithmic axis
_FEWEST_ERRORS = 0.05  # percentage points, by which a logarithmic axis of accuracies ends beyond 100
_ACCURACY_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 100)
_NAMED_GROUPS = 4  # whose answers are told one by one below an image
HEIGHT = 2.8  # inches, of a chart without its legend
_MARGIN = 0.05  # of a chart's height, above and below what is drawn
_ROW = 0.55  # inches, of a group in a dot plot
_LEGEND_ROW = 0.2  # inches


class Style(NamedTuple):
    """How a group is drawn everywhere."""

    colour: str
    line: str
    marker: str


def styles(groups: Sequence[Group]) -> list[Style]:
    """Return a style per group: the cell's colour, and line and marker by its place among the groups of that cell."""
    places = [sum(other.cell == group.cell for other in groups[:index]) for index, group in enumerate(groups)]
    colours = figures.colours([group.cell for group in groups])
    return [
        Style(colours[group.cell], LINES[place % len(LINES)], MARKERS[place % len(MARKERS)])
        for group, place in zip(groups, places, strict=True)
    ]


def accuracies(groups: Sequence[Group]) -> Figure:
    """Draw test accuracy: a row per group, each seed a dot, mean and standard deviation above them."""
    return _dot_plot(groups, schema.TEST_ACCURACY, "test accuracy (%)", scale=100, decimals=2)


def costs(groups: Sequence[Group]) -> Figure:
    """Draw test cost as :func:`accuracies` does accuracy."""
    return _dot_plot(groups, schema.TEST_COST, "test cost (nats)", scale=1, decimals=4)


def differences(verdicts: Sequence[Verdict]) -> Figure:
    """Draw, of each pair, the difference of test accuracies in both of its intervals, beside the line of no difference.

    Pairs without common seeds are left out. Faint are intervals that cover zero, and those of pairs with too few seeds
    for a verdict. Where all are pairs of one group with a long name, rows name the other group only.
    """
    drawn = [verdict for verdict in verdicts if verdict.difference is not None]
    long = any(len(f"{verdict.first} − {verdict.second}") > _LONG for verdict in drawn)
    several, gap = not long or len({verdict.first for verdict in drawn}) > 1, "\n" if long else " "
    figure, axes = rows(len(drawn))
    axes.axvline(0, color=INK, linewidth=1)
    for row, verdict in enumerate(drawn):
        for offset, interval, marker in ((-0.1, verdict.over_seeds, "o"), (0.13, verdict.over_images, "s")):
            if interval is not None:
                colour = FAINT if interval.covers_zero or not verdict.tested else INK
                ends = [100 * interval.low, 100 * interval.high]
                axes.plot(ends, [row + offset] * 2, color=colour, linewidth=2.5, solid_capstyle="butt")
                axes.plot([100 * (verdict.difference or 0)], [row + offset], marker, color=colour, markersize=6)
        label = f"{verdict.first} −{gap}{verdict.second}" if several else f"− {verdict.second}"
        write_row(axes, row, label, points(verdict.difference or 0))
    axes.set_xlabel("difference of test accuracies (percentage points)", fontsize=LABEL_POINTS)
    handles = [Line2D([], [], color=INK, marker=marker, linewidth=2.5, markersize=5) for marker in ("o", "s")]
    place_legend(figure, handles, ["over seeds", "over test images"])
    return figure


def training_costs(groups: Sequence[Group]) -> Figure:
    """Draw the training cost by epoch: the mean over seeds as a line, lowest to highest as a band."""
    figure, axes = _curves(groups, "cost", scale=1)
    axes.set_ylabel("training cost (nats)", fontsize=LABEL_POINTS)
    if all((result.history["cost"] > 0).all() for group in groups for result in group.results):
        axes.set_yscale("log")
        plain_logarithmic(axes.yaxis)
        axes.set_ylabel("training cost (nats, logarithmic)", fontsize=LABEL_POINTS)
    return figure


def validation_accuracies(groups: Sequence[Group]) -> Figure:
    """Draw the validation accuracy by epoch, as :func:`training_costs`; a steep rise logarithmically, by its errors."""
    figure, axes = _curves(groups, "val_accuracy", scale=100)
    axes.set_ylabel("validation accuracy (%)", fontsize=LABEL_POINTS)
    scale_accuracies(
        axes, np.concatenate([result.history["val_accuracy"] for group in groups for result in group.results])
    )
    return figure


def scale_accuracies(axes: Axes, accuracies: NDArray[np.float64]) -> None:
    """Choose the upright scale for validation accuracies (fractions), which are drawn in percent."""
    errors = 100 * (1 - accuracies)
    if errors.max() > _LOGARITHMIC_FROM * max(errors.min(), _FEWEST_ERRORS):
        axes.set_yscale("function", functions=(_towards_hundred, _from_hundred))
        axes.yaxis.set_major_locator(FixedLocator(_ACCURACY_TICKS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel("validation accuracy (%, log scale)", fontsize=LABEL_POINTS)
        low, high = (float(_towards_hundred(np.float64(100 - error))) for error in (errors.max(), errors.min()))
        margin = _MARGIN * (high - low)
        axes.set_ylim(float(_from_hundred(low - margin)), min(float(_from_hundred(high + margin)), 100))
    else:
        axes.set_ylim(top=min(axes.get_ylim()[1], 100.5))


def _towards_hundred(accuracy: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Return where an accuracy in percent stands on a scale that is logarithmic in the errors; 100 has a place, too."""
    return -np.log10(np.maximum(100 + _FEWEST_ERRORS - accuracy, 1e-9))


def _from_hundred(place: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(100 + _FEWEST_ERRORS - 10.0**-place)


def accuracy_by_seconds(groups: Sequence[Group], *, metric: str = schema.TRAIN_SECONDS, noun: str = "time") -> Figure:
    """Draw test accuracy against seconds of training: each seed a faint dot, the mean of a group a large one.

    Args:
        groups: to draw.
        metric: which seconds.
        noun: what they are.
    """
    figure, axes = chart(HEIGHT)
    for group, style in zip(groups, styles(groups), strict=True):
        seconds, accuracies = group.values(metric), [100 * value for value in group.values(schema.TEST_ACCURACY)]
        axes.plot(seconds, accuracies, style.marker, color=style.colour, markersize=4.5, alpha=0.5, markeredgewidth=0)
        mean = [float(np.mean(seconds))], [float(np.mean(accuracies))]
        axes.plot(
            *mean, style.marker, color=style.colour, markersize=9, markeredgecolor=SURFACE, label=group.label, zorder=3
        )
    every = [value for group in groups for value in group.values(metric)]
    axes.set_xlabel(f"training {noun} (s)", fontsize=LABEL_POINTS)
    if max(every) > _LOGARITHMIC_FROM * min(every) > 0:
        axes.set_xscale("log")
        plain_logarithmic(axes.xaxis)
        axes.set_xlabel(f"training {noun} (s, logarithmic)", fontsize=LABEL_POINTS)
    else:
        axes.set_xlim(left=0)
    axes.set_ylabel("test accuracy (%)", fontsize=LABEL_POINTS)
    _legend(figure, axes)
    return figure


def confusions(groups: Sequence[Group], class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix of each group, summed over its seeds, on one scale."""
    matrices = [tables.confusion(group, len(class_names)) for group in groups]
    columns = min(len(groups), 3)
    rows = math.ceil(len(groups) / columns)
    side = min(max(1.6 + 0.4 * len(class_names), WIDTH), 11.0)
    figure = figures.empty_figure(columns * side, rows * (side + 0.3))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    share = tables.largest_error_share(matrices)
    for axes, group, matrix in zip(grid, groups, matrices, strict=False):
        figures.draw_confusion(axes, matrix, class_names, full_share=max(share, figures.FULL_ERROR_SHARE))
        axes.set_title(f"{group.label}, {count_of(len(group.seeds), 'seed')}", fontsize=11, color=INK)
    for axes in grid[len(groups) :]:
        axes.set_axis_off()
    return figure


def wrong_in_all(
    groups: Sequence[Group], images: NDArray[np.uint8], positions: Labels, class_names: Sequence[str]
) -> Figure:
    """Draw images that every training gets wrong, and what each group says of them.

    Args:
        groups: whose answers these are.
        images: of the test split, (N, H, W), 0 to 255.
        positions: which of them to draw, (K,), K ≥ 1.
        class_names: C of them.
    """
    labels = groups[0].results[0].labels
    captions = [
        "\n".join([f"true {class_names[labels[position]]}", *said(groups, int(position), class_names)])
        for position in positions
    ]
    return figures.draw_gallery(images[positions], captions)


def said(groups: Sequence[Group], image: int, class_names: Sequence[str]) -> list[str]:
    """Return lines on what an image is taken for.

    'all say 9' where all trainings agree; else such as 'gru says 9 (2), 4 (1)' for each group, with how many seeds say
    so. More than four groups are told together, a line per answer, with how many trainings say so.
    """
    together = tables.answers(groups, image)
    if len(together) == 1:
        return [f"all say {class_names[together[0][0]]}"]
    if len(groups) > _NAMED_GROUPS:
        return [f"{count} {'says' if count == 1 else 'say'} {class_names[answer]}" for answer, count in together]
    return [f"{group.label} says {_answers_text(tables.answers([group], image), class_names)}" for group in groups]


def _answers_text(answers: Sequence[tuple[int, int]], class_names: Sequence[str]) -> str:
    if len(answers) == 1:
        return class_names[answers[0][0]]
    return ", ".join(f"{class_names[answer]}\u00a0({count})" for answer, count in answers)


def _dot_plot(groups: Sequence[Group], metric: str, label: str, *, scale: float, decimals: int) -> Figure:
    figure, axes = rows(len(groups))
    for row, (group, style) in enumerate(zip(groups, styles(groups), strict=True)):
        spread = group.spread(metric)
        values = [scale * value for value in group.values(metric)]
        spots = row + np.linspace(-0.08, 0.08, len(values)) if len(values) > 1 else [row]
        error = None if spread.sd is None else scale * spread.sd
        axes.errorbar(scale * spread.mean, row, xerr=error, color=style.colour, linewidth=2, capsize=4, capthick=2)
        axes.plot([scale * spread.mean] * 2, [row - 0.2, row + 0.2], color=style.colour, linewidth=2.5)
        dot: dict[str, Any] = {"markersize": 6.5, "markeredgecolor": SURFACE, "markeredgewidth": 0.8, "zorder": 3}
        axes.plot(values, spots, style.marker, color=style.colour, label=group.label, **dot)
        write_row(axes, row, group.label, spread.text(decimals, scale=scale))
    axes.set_xlabel(label, fontsize=LABEL_POINTS)
    return figure


def rows(count: int) -> tuple[Figure, Axes]:
    """Return a chart of ``count`` rows, from the top, each with room for words above it."""
    figure, axes = chart(max(_ROW * count + 0.7, HEIGHT))
    axes.set_ylim(max(count, 1) - 0.6, -0.7)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=figures.GRID, linewidth=0.8)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    return figure, axes


def write_row(axes: Axes, row: int, label: str, value: str) -> None:
    """Write the row's name on the left above its dots, and its number on the right."""
    size = TICK_POINTS if len(label) <= _LONG else _SMALL_POINTS
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": size, "color": INK}
    place["bbox"] = {"facecolor": SURFACE, "edgecolor": "none", "pad": 1}  # the line of no difference may pass there
    axes.annotate(label, (0, row - 0.42), ha="left", **place)
    axes.annotate(value, (1, row - 0.42), ha="right", **place)


def _curves(groups: Sequence[Group], column: str, *, scale: float) -> tuple[Figure, Axes]:
    figure, axes = chart(HEIGHT)
    last = 1
    for group, style in zip(groups, styles(groups), strict=True):
        table = tables.history_table(group, column)
        last = max(last, int(table["epoch"].max()))
        marker = style.marker if len(table) == 1 else ""
        axes.fill_between(
            table["epoch"], scale * table["low"], scale * table["high"], color=style.colour, alpha=0.2, linewidth=0
        )
        line: dict[str, Any] = {"color": style.colour, "linestyle": style.line, "marker": marker, "label": group.label}
        axes.plot(table["epoch"], scale * table["mean"], linewidth=1.8, **line)
    figures.epoch_axis(axes, 1, last)
    axes.set_xlabel("epoch", fontsize=LABEL_POINTS)
    _legend(figure, axes)
    return figure, axes


def chart(height: float) -> tuple[Figure, Axes]:
    """Return an empty chart, in the look of the page."""
    figure = figures.empty_figure(WIDTH, height)
    axes = figure.subplots()
    figures.tidy(axes)
    axes.tick_params(labelsize=TICK_POINTS, labelcolor=INK, color=FAINT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
    return figure, axes


def _legend(figure: Figure, axes: Axes) -> None:
    place_legend(figure, *axes.get_legend_handles_labels())


def place_legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put a legend above the axes, in as many columns as its labels leave room for."""
    longest = max(map(len, labels)) + 4
    columns = max(1, min(len(labels), _LEGEND_LETTERS // longest))
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * math.ceil(len(labels) / columns))
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=TICK_POINTS if longest <= _LONG else _SMALL_POINTS,
        labelcolor=INK,
        handlelength=2.2,
        markerscale=0.8,
    )


def plain_logarithmic(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, 0.05 in place of 5 × 10⁻²."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
