"""Draw matplotlib figures of a run.

Only ``Figure`` objects, never pyplot: nothing here is global, so figures can be drawn in any thread and without a
display.

Shapes: K examples, C classes.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline import epochs
from pipeline.cells import CELLS
from pipeline.epochs import EpochRecord
from pipeline.evaluation import metrics
from pipeline.kinds.kind import Box, Kind

# The first four are from the palette of Okabe and Ito, "Color Universal Design" (2008),
# https://jfly.uni-koeln.de/color/. Of all triples in it with a contrast of 3:1 on white, the first three stay furthest
# apart in all kinds of colour blindness. The last two colours also have this contrast on the page's dark cards.
PALETTE = ("#CC79A7", "#0072B2", "#D55E00", "#009E73", "#8C7400", "#7F63C9")
"""The colours of the cells in the order of :data:`CELLS`, followed by colours for other cells."""

INK = "#222222"
FAINT = "#8A8A8A"
GRID = "#E4E4E4"

DOTS_PER_INCH = 150
WIDTH = 8.0  # inches; 1,200 pixels fill MLflow's artifact view without scrolling sideways
GALLERY_LIMIT = 30  # fills rows of six (short class names) and of five (long ones)
"""Maximum number of examples that :func:`misclassified` draws."""

_MARKED_EPOCHS = 40  # more markers would overlap
_FULL_ERROR_SHARE = 0.05  # smallest share with the darkest error colour: a single error must not look like a disaster
_SLANTED_FROM = 3  # letters; longer class names do not fit next to each other under the cells
_SHORT_NAME = 4  # letters; two such names fit into one line above an image
_LETTER_WIDTH = 0.062  # inches, on average, of a caption's 8 points, with the gap to the next caption
_ELONGATED = 4  # the ratio of the sides above which pixels are not drawn as squares


def colour_of(cell: str) -> str:
    """Return the colour of a cell; for a custom one, the first colour that no built-in cell has."""
    return colours([cell])[cell]


def colours(cells: Iterable[str]) -> dict[str, str]:
    """Return the colours of the cells on one page by name; custom cells follow in their order.

    A built-in cell has the same colour on every page. Colours repeat after the end of the palette.
    """
    places = list(dict.fromkeys([*CELLS, *cells]))
    return {cell: PALETTE[places.index(cell) % len(PALETTE)] for cell in cells}


def curves(records: Sequence[EpochRecord], title: str, *, colour: str = INK) -> Figure:
    """Draw training and validation cost and accuracy by epoch, and mark the kept epoch.

    Args:
        records: at least one epoch.
        title: heading of the figure.
        colour: colour of the lines, such as ``colour_of(cell)``.
    """
    best, history = epochs.best(records), metrics.history(records)
    figure = empty_figure(WIDTH, 3.9)
    marker = "o" if len(records) <= _MARKED_EPOCHS else ""
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.5}
    left, right = figure.subplots(1, 2)
    for axes, measure, scale in ((left, "cost", 1), (right, "accuracy", 100)):
        training, validation = scale * history[measure], scale * history[f"val_{measure}"]
        axes.axvline(best.epoch, color=FAINT, linewidth=0.8, linestyle=":")
        axes.plot(history["epoch"], training, **style, ls="--", alpha=0.6, markerfacecolor="white", label="training")
        axes.plot(history["epoch"], validation, **style, label="validation")
        kept = validation[records.index(best)]
        axes.plot(best.epoch, kept, "o", color=INK, markersize=10, markerfacecolor="none", label="best epoch")
        epoch_axis(axes, records[0].epoch, records[-1].epoch)
        tidy(axes)
    left.set(ylabel="cost (nats)", ylim=(0, None))
    right.set(ylabel="accuracy (%)", ylim=(None, min(right.get_ylim()[1], 100.5)))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    _head(figure, title, f"Best epoch {best.epoch}: validation accuracy {100 * best.val_accuracy:.2f} %")
    return figure


def confusion_matrix(matrix: NDArray[np.integer[Any]], class_names: Sequence[str], title: str) -> Figure:
    """Draw the (C, C) counts of true (row) and predicted (column) classes.

    Correct answers (blue) and errors (orange) are coloured by their share of the row, on separate scales, so that
    errors remain visible next to a diagonal a hundred times larger.
    """
    side = min(max(2.6 + 0.44 * len(class_names), 4.5), 11.0)
    figure = empty_figure(side, side)
    axes = figure.subplots()
    shares, diagonal = metrics.row_shares(matrix), np.eye(len(matrix), dtype=bool)
    # The square root spreads out the small shares, which are the most frequent.
    errors = np.sqrt(shares / max(float(shares[~diagonal].max(initial=0)), _FULL_ERROR_SHARE))
    # Only half of the map's range is used, so that the counts on it stay legible in dark ink.
    colours = np.where(diagonal[..., np.newaxis], colormaps["Blues"](shares / 2), colormaps["Oranges"](errors))
    colours[matrix == 0] = 1
    borders = np.arange(len(matrix) + 1) - 0.5
    axes.pcolormesh(borders, borders, colours, edgecolors=GRID, linewidth=0.6)
    axes.set(xlabel="predicted class", ylabel="true class", aspect="equal")
    axes.invert_yaxis()
    size = float(np.interp(len(matrix), [10, 26], [9.5, 7]))  # points; a cell has room for four digits
    for row, column in np.argwhere(matrix):
        ink = "white" if not diagonal[row, column] and errors[row, column] > 0.6 else INK  # noqa: PLR2004
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=size, color=ink)
    _name_classes(axes, class_names, size + 0.5)
    total, right = int(matrix.sum()), int(np.trace(matrix))
    wrong = f"{total - right:,} of {total:,} misclassified"
    _head(figure, title, f"{wrong}; darker: a larger share of the true class")
    return figure


def _name_classes(axes: Axes, class_names: Sequence[str], size: float) -> None:
    """Name rows and columns."""
    slanted = max(map(len, class_names)) > _SLANTED_FROM
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(class_names)), class_names, fontsize=size, **turn)
    axes.set_yticks(range(len(class_names)), class_names, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_color(GRID)


def misclassified(
    examples: NDArray[Any], answers: pd.DataFrame, class_names: Sequence[str], *, kind: Kind, title: str
) -> Figure:
    """Draw a gallery of wrong answers, at most :data:`GALLERY_LIMIT`, the most confident first.

    Args:
        examples: all examples of a split.
        answers: a row per example, see :func:`metrics.predictions`.
        class_names: names of the C classes.
        kind: draws an example.
        title: heading of the figure.
    """
    wrong = answers[~answers["correct"]]
    shown = wrong.nlargest(GALLERY_LIMIT, "probability")  # equal ones keep their order
    captions = [
        _caption(class_names[label], class_names[said], float(probability))
        for label, said, probability in zip(shown["label"], shown["predicted"], shown["probability"], strict=True)
    ]
    figure = _gallery(kind, examples[shown.index], captions) if captions else empty_figure(WIDTH, 1)
    _head(figure, title, f"{len(shown)} of {len(wrong):,} misclassified {kind.name}, the most confident ones")
    return figure


def accuracy_by_step(so_far: Sequence[float], accuracies: NDArray[np.floating[Any]], what: str, title: str) -> Figure:
    """Draw the accuracies (K,) on all examples if reading ended at each of K points.

    Args:
        so_far: amount that is read at each point, (K,).
        accuracies: fractions of 1.
        what: label of the axis for ``so_far``, such as "steps read".
        title: heading of the figure.
    """
    figure = empty_figure(WIDTH, 3.9)
    axes = figure.subplots()
    axes.plot(so_far, 100 * accuracies, color=PALETTE[1])
    axes.set(xlabel=what, ylabel="accuracy (%)", xlim=(so_far[0], max(so_far[0] + 1, so_far[-1])), ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    _head(figure, title, "accuracy if reading ended earlier")
    return figure


def epoch_axis(axes: Axes, first: int, last: int) -> None:
    """Make the horizontal axis show whole epochs, from ``first`` to ``last``."""
    axes.set(xlabel="epoch", xlim=(first - 0.5, last + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _gallery(kind: Kind, examples: NDArray[Any], captions: Sequence[str]) -> Figure:
    """Draw one or more examples in rows, each below its caption; see :func:`misclassified`.

    All share one pair of axes, whose unit is an inch: separate axes would take most of the time of an evaluation.
    """
    lines = [line for caption in captions for line in caption.splitlines()]
    columns = max(2, min(6, int(WIDTH / (_LETTER_WIDTH * max(map(len, lines))))))
    cell, ratio = WIDTH / columns, min(max(kind.ratio, 1 / _ELONGATED), _ELONGATED)
    height = 0.9 * cell * min(max(ratio, 0.4), 1.6)
    width = min(0.9 * cell, height / ratio)
    row_height = height + 0.05 + 0.17 * len(lines) / len(captions)
    rows = math.ceil(len(examples) / columns)
    figure = empty_figure(WIDTH, rows * row_height + 0.75)
    axes = figure.subplots()
    for place, (example, caption) in enumerate(zip(examples, captions, strict=True)):
        middle, bottom = (place % columns + 0.5) * cell, (place // columns + 1) * row_height
        box: Box = (middle - width / 2, middle + width / 2, bottom, bottom - height)
        kind.draw(axes, example, box)
        axes.add_patch(Rectangle((box[0], box[3]), width, height, fill=False, edgecolor="#CCCCCC", linewidth=0.8))
        axes.text(middle, box[3] - 0.04, caption, fontsize=8, color=INK, ha="center", va="bottom")
    axes.set(xlim=(0, WIDTH), ylim=(rows * row_height + 0.02, 0))
    axes.set_axis_off()
    return figure


def _caption(label: str, said: str, probability: float) -> str:
    """Return a caption such as 'true 4, said 9 (99 %)', in two lines if the names are long; 100 % is only for 1."""
    gap = " " if max(len(label), len(said)) <= _SHORT_NAME else "\n"
    percent = 100 if probability == 1 else min(round(100 * probability), 99)
    return f"true {label},{gap}said {said} ({percent} %)"


class _PlainFigure(Figure):
    """A figure that draws dollar signs literally, because users name runs, classes and parameters."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().savefig(fname, **options)


def empty_figure(width: float, height: float) -> Figure:
    """Return an empty white figure, sized in inches, that leaves room for its labels."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return _PlainFigure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout, facecolor="white")


def _head(figure: Figure, title: str, subtitle: str) -> None:
    """Write the title and the subtitle below it, wrapped to the width of the figure."""
    letters = int(figure.get_figwidth() * 10)
    text = "\n".join(textwrap.fill(line, letters) for line in (title, subtitle))
    figure.suptitle(text, fontsize=11, color=INK)


def tidy(axes: Axes) -> None:
    """Keep faint grid lines and remove the box."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
