from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pipeline.cells import CELLS
from pipeline.comparison import charts
from pipeline.comparison.grouping import Group, grouped
from pipeline.comparison.report_data import ReportData
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT
from tests.unit.evaluation.test_figures import stays_on_canvas
from tests.unit.result_fixtures import group, result, three_groups


def drawn(name: str, groups: Sequence[Group]) -> Figure:
    (chart,) = [chart for chart in charts.CHARTS if chart.name == name]
    return chart.draw(ReportData(groups=groups))


def only(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def points_of(axes: Axes, label: str) -> list[list[float]]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [[round(float(x), 6), round(float(y), 6)] for x, y in np.asarray(line.get_xydata())]


def many_groups() -> list[Group]:
    return grouped(
        result(cell, seed, params={"hidden_units": units, "learning_rate": rate}, seconds=float(units))
        for cell in CELLS
        for seed in (1, 2)
        for units in ("16", "8192")
        for rate in ("0.001", "0.01")
    )


LABELS = {
    "test_accuracy": ("test accuracy (%)", ""),
    "differences": ("difference (percentage points)", ""),
    "training_cost": ("epoch", "training cost (nats, log scale)"),
    "validation_accuracy": ("epoch", "validation accuracy (%, log scale)"),
    "accuracy_by_seconds": ("training time (s)", "test accuracy (%)"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [chart.name for chart in charts.CHARTS])
@pytest.mark.parametrize("groups", [three_groups(), many_groups()], ids=["three", "many"])
def test_a_chart_names_its_axes_and_clips_nothing(name: str, groups: list[Group]) -> None:
    figure = drawn(name, groups)
    assert LABELS[name] == (only(figure).get_xlabel(), only(figure).get_ylabel())
    assert stays_on_canvas(figure)
    assert 317 == pytest.approx(72 * figure.get_figwidth(), abs=1)  # points; columns of the page have as many pixels


def test_groups_of_one_cell_share_its_colour_and_differ_by_line_and_marker() -> None:
    groups = grouped(result(cell, params={"layers": layers}) for cell in CELLS for layers in ("1", "2"))
    styles = charts.styles(groups)
    assert [figures.colour_of(each.cell) for each in groups] == [style["color"] for style in styles]
    assert len(groups) == len({(style["color"], style["linestyle"]) for style in styles})
    assert len(groups) == len({(style["color"], style["marker"]) for style in styles})


def test_accuracies_show_each_seed_and_the_mean_with_its_deviation() -> None:
    axes = only(drawn("test_accuracy", three_groups()))
    assert [80, 90] == [x for x, _ in points_of(axes, "lstm")]
    whiskers = [bar.get_paths()[0].get_extents() for bar in axes.collections]
    # By hand: 85 ± √(2 × 5²) = 7.07.
    assert {(90, 90), (77.93, 92.07), (70, 70)} == {(round(bar.x0, 2), round(bar.x1, 2)) for bar in whiskers}


def test_curves_are_means_over_seeds_within_their_range() -> None:
    axes = only(drawn("training_cost", three_groups()))
    # Costs 1/epoch with seed 1 and 2/epoch with seed 2.
    assert [[1, 1.5], [2, 0.75]] == points_of(axes, "gru")
    band = np.asarray(axes.collections[-1].get_paths()[0].vertices)
    assert (1, 2) == (band[band[:, 0] == 1, 1].min(), band[band[:, 0] == 1, 1].max())


def test_accuracies_by_epoch_are_drawn_by_their_errors() -> None:
    axes = only(drawn("validation_accuracy", grouped([result(epochs=30, val_accuracy=1.0)])))
    # The accuracy is 1 − 0.1 / epoch; the axis shows errors, with accuracies as labels.
    assert [[1, 10], [2, 5]] == points_of(axes, "gru")[:2]
    heights = axes.transData.transform([(1, 10), (1, 1), (1, 0.1)])[:, 1]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    assert heights[1] > heights[0]
    assert "99.5" == axes.yaxis.get_major_formatter()(0.5)
    perfect = only(drawn("validation_accuracy", grouped([result(epochs=9, val_accuracy=1.2)])))
    assert 0.05 == points_of(perfect, "gru")[-1][1]


@pytest.mark.parametrize(("seeds", "is_faint"), [(3, False), (2, True)])
def test_differences_are_faint_where_they_are_not_significant_or_not_tested(seeds: int, is_faint: bool) -> None:
    groups = [group("gru", *[range(9)] * seeds), group("rnn", *[range(400)] * seeds)]
    colours = {to_hex(line.get_color()) for line in only(drawn("differences", groups)).lines[1:]}
    assert is_faint == ({FAINT.lower()} == colours)
