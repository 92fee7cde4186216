from collections.abc import Callable, Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pipeline.cells import CELLS
from pipeline.comparison import grouping, pairwise_tests, plots
from pipeline.comparison.grouping import Group
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT
from tests.unit.evaluation.test_figures import DIGITS, stays_on_canvas
from tests.unit.result_fixtures import LABELS, result, three_groups

Draw = Callable[[Sequence[Group]], Figure]


def differences(groups: Sequence[Group]) -> Figure:
    return plots.differences(pairwise_tests.verdicts(groups)[:6])


CHARTS: dict[str, tuple[Draw, str, str]] = {
    "accuracies": (plots.accuracies, "test accuracy (%)", ""),
    "costs": (plots.costs, "test cost (nats)", ""),
    "differences": (differences, "difference of test accuracies (percentage points)", ""),
    "training_costs": (plots.training_costs, "epoch", "training cost (nats, logarithmic)"),
    "validation_accuracies": (plots.validation_accuracies, "epoch", "validation accuracy (%)"),
    "accuracy_by_seconds": (plots.accuracy_by_seconds, "training time (s)", "test accuracy (%)"),
}


def many_groups() -> list[Group]:
    rates = ("0.001", "0.01")
    return grouping.grouped(
        result(cell, seed, params={"hidden_units": units, "learning_rate": rate}, seconds=float(units))
        for cell in CELLS
        for seed in (1, 2)
        for units in ("16", "8192")
        for rate in rates
    )


def only(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def points_of(axes: Axes, label: str) -> list[list[float]]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [[round(float(x), 6), round(float(y), 6)] for x, y in np.asarray(line.get_xydata())]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_names_its_axes_and_units(name: str) -> None:
    draw, across, up = CHARTS[name]
    axes = only(draw(three_groups()))
    assert (across, up) == (axes.get_xlabel(), axes.get_ylabel())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize(
    "groups", [three_groups(), many_groups(), grouping.grouped([result(epochs=1)])], ids=["three", "many", "one"]
)
def test_a_chart_clips_nothing_and_fits_a_phone(name: str, groups: list[Group]) -> None:
    figure = CHARTS[name][0](groups)
    assert stays_on_canvas(figure)
    assert 4.4 == figure.get_figwidth()


def test_groups_of_one_cell_share_its_colour_and_differ_by_line_and_marker() -> None:
    groups = grouping.grouped(result(cell, params={"layers": layers}) for cell in CELLS for layers in ("1", "2"))
    styles = plots.styles(groups)
    assert [figures.colour_of(group.cell) for group in groups] == [style.colour for style in styles]
    assert len(groups) == len({(style.colour, style.line) for style in styles})
    assert len(groups) == len({(style.colour, style.marker) for style in styles})


def test_accuracies_show_each_seed_and_the_mean_with_its_deviation() -> None:
    axes = only(plots.accuracies(three_groups()))
    assert [80, 90] == [x for x, _ in points_of(axes, "lstm")]
    written = {text.get_text() for text in axes.texts}
    # By hand: √(2 × 5²) = 7.07.
    assert {"rnn", "lstm", "gru", "70.00 ± 0.00", "85.00 ± 7.07", "90.00 ± 0.00"} == written


def test_costs_show_the_costs() -> None:
    assert [0.5, 0.5] == [x for x, _ in points_of(only(plots.costs(three_groups())), "gru")]


def test_training_costs_are_means_over_seeds_within_their_range() -> None:
    axes = only(plots.training_costs(three_groups()))
    # Costs 1/epoch with seed 1 and 2/epoch with seed 2.
    assert [[1, 1.5], [2, 0.75]] == points_of(axes, "gru")
    band = np.asarray(axes.collections[-1].get_paths()[0].vertices)
    assert (1, 2) == (band[band[:, 0] == 1, 1].min(), band[band[:, 0] == 1, 1].max())


def test_validation_accuracies_are_drawn_in_percent() -> None:
    axes = only(plots.validation_accuracies(three_groups()))
    # 94 % on average, less 10 points after epoch 1 and 5 after epoch 2.
    assert [[1, 84], [2, 89]] == points_of(axes, "gru")


def test_a_steep_rise_is_drawn_whole_and_by_its_errors() -> None:
    groups = grouping.grouped(
        [result(seed=seed, epochs=epochs, val_accuracy=1.0) for seed in (1, 2) for epochs in (30,)]
    )
    axes = only(plots.validation_accuracies(groups))
    low, high = axes.get_ylim()
    assert low < 90
    assert high > 99.6
    assert "validation accuracy (%, log scale)" == axes.get_ylabel()
    heights = axes.transData.transform([(1, 90), (1, 99), (1, 99.9)])[:, 1]
    # Errors of 10, 1 and 0.1 %, each with 0.05 % for the place of 100 %.
    steps = np.diff(np.log10([10.05, 1.05, 0.15]))
    assert steps[0] / steps[1] == pytest.approx((heights[1] - heights[0]) / (heights[2] - heights[1]), rel=1e-6)


def test_no_band_is_clipped() -> None:
    for groups in (three_groups(), many_groups()):
        axes = only(plots.validation_accuracies(groups))
        drawn = np.concatenate([np.asarray(band.get_paths()[0].vertices)[:, 1] for band in axes.collections])
        low, high = axes.get_ylim()
        assert low <= drawn.min()
        assert drawn.max() <= high


def test_curves_of_different_lengths_are_drawn_as_far_as_all_went() -> None:
    groups = grouping.grouped(
        result(seed=seed, epochs=epochs, params={"epochs": ""}) for seed, epochs in ((1, 5), (2, 3))
    )
    axes = only(plots.training_costs(groups))
    assert [1, 2, 3] == [x for x, _ in points_of(axes, "gru")]


def test_accuracy_against_processor_time_says_so() -> None:
    groups = grouping.grouped([result(seed=1, cpu_seconds=10, wrong=[0]), result(seed=2, cpu_seconds=30, wrong=[0])])
    axes = only(plots.accuracy_by_seconds(groups, metric="cpu_seconds", noun="processor time"))
    assert "training processor time (s)" == axes.get_xlabel()
    assert [[20, 90]] == points_of(axes, "gru")


def test_accuracy_by_seconds_marks_the_mean() -> None:
    groups = grouping.grouped([result(seed=1, seconds=10, wrong=[0]), result(seed=2, seconds=30, wrong=[0, 1, 2])])
    assert [[20, 80]] == points_of(only(plots.accuracy_by_seconds(groups)), "gru")


def test_differences_are_faint_where_the_interval_covers_zero() -> None:
    groups = grouping.grouped([result("gru", seed, wrong=[3]) for seed in (1, 2)]) + grouping.grouped(
        [result("lstm", 1, wrong=[3]), result("lstm", 2, wrong=[4])]
    )
    colours = {to_hex(line.get_color()) for line in only(differences(groups)).lines[1:]}
    assert {FAINT.lower()} == colours


def test_a_pair_with_too_few_seeds_is_faint_however_clear_it_looks() -> None:
    groups = grouping.grouped([result("gru", seed) for seed in (1, 2)]) + grouping.grouped(
        [result("lstm", seed, wrong=range(10)) for seed in (1, 2)]
    )
    colours = {to_hex(line.get_color()) for line in only(differences(groups)).lines[1:]}
    assert {FAINT.lower()} == colours


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CHARTS)
def test_dollars_in_a_label_are_dollars(name: str) -> None:
    labels = ("$\\frac{1$", "$x$")
    assert stays_on_canvas(CHARTS[name][0](grouping.grouped([result(params={"note": label}) for label in labels])))


def test_confusion_matrices_stand_side_by_side_with_the_group_above() -> None:
    figure = plots.confusions(three_groups(), ["a", "b", "c"])
    assert ["rnn, 2 seeds", "lstm, 2 seeds", "gru, 2 seeds"] == [axes.get_title() for axes in figure.axes]
    assert stays_on_canvas(figure)
    assert 1 == len({axes.images[-1].norm.vmax for axes in figure.axes})


def test_what_is_said_of_an_image_is_short_where_all_agree() -> None:
    assert ["all say b"] == plots.said(three_groups(), 3, ["a", "b", "c"])


def test_what_is_said_of_an_image_names_each_group_where_they_do_not() -> None:
    # Image 1 is a 1, taken for a 2 by rnn with one of its seeds.
    assert ["rnn says b\u00a0(1), c\u00a0(1)", "lstm says b", "gru says b"] == plots.said(
        three_groups(), 1, ["a", "b", "c"]
    )


def test_what_many_groups_say_of_an_image_is_counted_together() -> None:
    groups = grouping.grouped(
        result(params={"layers": str(layers)}, wrong=[0] if layers == 1 else []) for layers in range(1, 7)
    )
    assert ["5 say a", "1 says b"] == plots.said(groups, 0, ["a", "b", "c"])


def test_images_that_all_get_wrong_are_captioned_by_truth_and_answers() -> None:
    images = np.zeros((len(LABELS), 8, 8), np.uint8)
    figure = plots.wrong_in_all(three_groups(), images, np.array([3]), DIGITS)
    assert ["true 0\nall say 1"] == [axes.get_title() for axes in figure.axes if axes.images]
