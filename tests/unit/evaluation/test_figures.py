from io import BytesIO
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.cells import CELLS
from pipeline.epochs import EpochRecord
from pipeline.evaluation import figures, metrics
from pipeline.kinds.images import Images

DIGITS = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle-boot"]


def record(epoch: int, val_accuracy: float = 0.9) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        cost=0.5 / epoch,
        accuracy=1 - 0.2 / epoch,
        val_cost=0.4 / epoch,
        val_accuracy=val_accuracy,
        learning_rate=0.001,
        epoch_seconds=5,
        samples_per_second=10_000,
    )


def stays_on_canvas(figure: Figure) -> bool:
    """Check that nothing is drawn beyond the edges (in inches, with half a pixel of rounding)."""
    figure.savefig(BytesIO())
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    pixel = 0.5 / figures.DOTS_PER_INCH
    return bool(drawn.x0 >= -pixel and drawn.y0 >= -pixel and drawn.x1 <= width + pixel and drawn.y1 <= height + pixel)


def cell_colour(axes: Axes, row: int, column: int) -> tuple[float, ...]:
    """Return the (red, green, blue) of a cell of the confusion matrix."""
    (cells,) = axes.collections
    return tuple(np.asarray(cells.get_array())[row, column, :3])


def points(axes: Axes, label: str) -> list[list[float]]:
    """Return the [x, y] of each point of the line with that label."""
    line = next(line for line in axes.lines if line.get_label() == label)
    return [[float(x), float(y)] for x, y in np.asarray(line.get_xydata())]


def gallery(
    count: int,
    *,
    shape: tuple[int, int] = (28, 28),
    names: list[str] = DIGITS,
    probability: float = 0.987,
) -> Figure:
    """Draw 4s that were taken for 9s, after an example that was classified correctly."""
    images = np.random.default_rng(0).integers(256, size=(count + 1, *shape), dtype=np.uint8)
    probabilities = np.full((count + 1, 10), (1 - probability) / 9, np.float32)
    probabilities[:, 9] = probability
    answers = metrics.predictions(np.array([9] + [4] * count), probabilities, names)
    return figures.misclassified(
        images, answers, names, kind=Images(height=shape[0], width=shape[1]), title="gru-s1 on mnist"
    )


def test_every_cell_has_its_own_colour_and_others_take_the_next_ones_in_their_order() -> None:
    assert len(CELLS) == len({figures.colour_of(cell) for cell in CELLS})
    assert figures.PALETTE[len(CELLS)] == figures.colour_of("mine")
    assert [*figures.PALETTE[len(CELLS) :][:2], figures.colour_of("gru")] == list(
        figures.colours(["mine", "yours", "gru"]).values()
    )
    assert figures.colour_of("rnn") == figures.colours("abc")["c"]  # the palette has no more colours


def test_curves_draw_the_records_with_their_units_in_the_colour_of_the_cell() -> None:
    left, right = figures.curves([record(1, 0.9), record(2, 1.0)], "gru", colour="#D55E00").axes
    assert ("epoch", "cost (nats)") == (left.get_xlabel(), left.get_ylabel())
    assert ("epoch", "accuracy (%)") == (right.get_xlabel(), right.get_ylabel())
    assert ([[1, 0.5], [2, 0.25]], [[1, 0.4], [2, 0.2]]) == (points(left, "training"), points(left, "validation"))
    assert np.allclose(points(right, "training"), [[1, 80], [2, 90]])
    assert np.allclose(points(right, "validation"), [[1, 90], [2, 100]])
    assert {"#D55E00"} == {line.get_color() for line in left.lines if line.get_label() in ("training", "validation")}
    assert 100 < right.get_ylim()[1] <= 100.5


def test_curves_mark_the_best_epoch_and_break_ties_by_cost() -> None:
    figure = figures.curves([record(1, 0.9), record(2, 0.95), record(3, 0.95)], "gru")
    for axes in figure.axes:
        assert [3] == [x for x, _ in points(axes, "best epoch")]
    assert "Best epoch 3: validation accuracy 95.00 %" in figure.get_suptitle()


@pytest.mark.parametrize("epochs", [1, 2, 3, 30, 100])
def test_curves_count_whole_epochs_and_clip_nothing(epochs: int) -> None:
    figure = figures.curves([record(epoch) for epoch in range(1, epochs + 1)], "lstm-s1 on mnist")
    assert stays_on_canvas(figure)
    for axes in figure.axes:
        first, last = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if first <= tick <= last]
        assert ticks
        assert all(tick == int(tick) and 1 <= tick <= epochs for tick in ticks)


@pytest.mark.filterwarnings("error")
def test_confusion_matrix_writes_counts_names_and_errors() -> None:
    figure = figures.confusion_matrix(np.array([[90, 10, 0], [0, 1_234, 0], [0, 0, 0]]), ["cat", "dog", "owl"], "gru")
    (axes,) = figure.axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert {(0, 0): "90", (1, 0): "10", (1, 1): "1234"} == written
    assert (1, 1, 1) == cell_colour(axes, 1, 0)
    assert ("predicted class", "true class") == (axes.get_xlabel(), axes.get_ylabel())
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert ["cat", "dog", "owl"] == [label.get_text() for label in labels]
    assert figure.get_suptitle().startswith("gru\n10 of 1,334 misclassified")


def test_confusion_matrix_colours_errors_by_the_share_of_the_row_also_single_ones() -> None:
    # 5 of 100 and 50 of 1,000 are the same share; 50 of 500 is twice that.
    axes = figures.confusion_matrix(np.array([[95, 5, 0], [0, 950, 50], [50, 0, 450]]), ["a", "b", "c"], "").axes[0]
    assert cell_colour(axes, 1, 2) == cell_colour(axes, 0, 1)
    assert sum(cell_colour(axes, 2, 0)) < sum(cell_colour(axes, 0, 1))
    matrix = np.diag([1_000] * 10)
    matrix[4, 9] = 1
    axes = figures.confusion_matrix(matrix, DIGITS, "gru").axes[0]
    assert min(cell_colour(axes, 4, 9)) < 0.9
    assert (1, 1, 1) == cell_colour(axes, 9, 4)


@pytest.mark.parametrize(
    "names",
    [
        ["no", "yes"],
        DIGITS,
        CLOTHES,
        [f"Ankle boot {letter}" for letter in range(26)],
    ],
    ids=["2", "10", "clothes", "26"],
)
def test_confusion_matrix_clips_nothing_and_its_counts_fit(names: list[str]) -> None:
    classes = len(names)
    matrix = np.full((classes, classes), 999)
    figure = figures.confusion_matrix(matrix, names, "a title of more than one line, " * 4)
    assert stays_on_canvas(figure)
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / classes
    assert max(text.get_window_extent().width for text in axes.texts) < cell
    assert min(float(label.get_fontsize()) for label in axes.get_xticklabels()) >= 7


@pytest.mark.parametrize("text", ["costs $5 and $6", "$\\frac{1$", "a$b"])
def test_dollars_in_names_are_dollars(text: str) -> None:
    assert stays_on_canvas(figures.curves([record(1)], text))
    assert stays_on_canvas(figures.confusion_matrix(np.eye(2, dtype=int), [text, "b"], text))
    assert stays_on_canvas(gallery(2, names=[text] * 10))


@pytest.mark.parametrize(("probability", "percent"), [(0.504, "50"), (0.9997, "99"), (1, "100")])
def test_misclassified_images_show_the_answer_and_never_100_percent(probability: float, percent: str) -> None:
    figure = gallery(217, probability=probability)
    (axes,) = figure.axes
    assert 30 == len(axes.images)
    assert [f"true 4, said 9 ({percent} %)"] * 30 == [text.get_text() for text in axes.texts]
    assert "gru-s1 on mnist\n30 of 217 misclassified images, the most confident ones" == figure.get_suptitle()
    assert not axes.axison
    assert "0 of 0 misclassified images" in gallery(0).get_suptitle()


def test_the_most_confident_errors_come_first_and_ties_keep_their_order() -> None:
    images = np.full((5, 2, 2), [[[number]] for number in range(5)], np.uint8)
    table = {"label": [0, 0, 1, 1, 0], "predicted": [0, 1, 1, 0, 1], "probability": [0.5, 0.8, 0.5, 0.9, 0.8]}
    answers = pd.DataFrame(table).assign(correct=lambda rows: rows["label"] == rows["predicted"])

    (axes,) = figures.misclassified(images, answers, "ab", kind=Images(height=2, width=2), title="").axes

    assert [3, 1, 4] == [int(np.max(np.asarray(image.get_array()))) for image in axes.images]


@pytest.mark.parametrize(
    ("count", "shape", "names"),
    [
        (1, (8, 8), DIGITS),
        (figures.GALLERY_LIMIT, (28, 28), DIGITS),
        (figures.GALLERY_LIMIT, (28, 28), CLOTHES),
        (7, (8, 20), DIGITS),
        (7, (20, 8), CLOTHES),
        (3, (1, 784), DIGITS),
    ],
)
def test_misclassified_clips_nothing_and_nothing_overlaps(count: int, shape: tuple[int, int], names: list[str]) -> None:
    figure = gallery(count, shape=shape, names=names, probability=1)
    assert stays_on_canvas(figure)
    (axes,) = figure.axes
    assert count == len(axes.images)
    parts = [part.get_window_extent() for part in (*axes.images, *axes.texts)]
    assert not any(here.overlaps(there) for here, there in combinations(parts, 2))
    assert min(part.height for part in parts[:count]) > 60  # pixels
