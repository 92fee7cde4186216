import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipeline.cells import Cell
from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group, Interval, Spread, Verdict
from tests.unit.result_fixtures import LABELS, result, three_groups

NONE: Sequence[int] = ()


def group(cell: Cell, *wrong: Sequence[int], first_seed: int = 1, labels: Sequence[int] | None = None) -> Group:
    """Return a group of one training per sequence of images that it gets wrong."""
    results = [result(cell, seed, wrong=each, labels=labels) for seed, each in enumerate(wrong, first_seed)]
    return grouping.grouped(results)[0]


def labels(*groups: Group) -> list[str]:
    return [group.label for group in groups]


# --- groups ---------------------------------------------------------------------------------------------------------


def test_trainings_that_differ_by_their_seed_are_one_group_ordered_by_it() -> None:
    groups = grouping.grouped([result(seed=10), result(seed=2), result(seed=1)])
    assert [("gru", (1, 2, 10))] == [(group.label, group.seeds) for group in groups]


def test_where_data_was_kept_and_what_it_was_called_parts_no_group() -> None:
    elsewhere = {"data_dir": "/elsewhere", "source": "/mnist", "dataset": "mnist"}
    assert 1 == len(grouping.grouped([result(seed=1), result(seed=2, params=elsewhere)]))


def test_a_label_is_the_cell_where_only_cells_differ() -> None:
    groups = grouping.grouped([result("gru"), result("rnn"), result("lstm")])
    assert ["rnn", "lstm", "gru"] == labels(*groups)


def test_a_label_names_only_the_params_that_differ_and_sorts_them_as_numbers() -> None:
    groups = grouping.grouped([result(params={"hidden_units": units, "layers": "1"}) for units in ("128", "64")])
    assert ["gru, hidden_units 64", "gru, hidden_units 128"] == labels(*groups)


def test_what_differs_between_cells_alone_is_in_no_label() -> None:
    rates: dict[Cell, str] = {"rnn": "0.001", "gru": "0.004"}
    groups = grouping.grouped([result(cell, params={"learning_rate": rate}) for cell, rate in rates.items()])
    assert ["rnn", "gru"] == labels(*groups)


def test_a_recipe_stands_for_its_values_in_a_label() -> None:
    values = {"tutorial": "0.001", "accurate": "0.004"}
    groups = grouping.grouped(
        [result(params={"recipe": recipe, "learning_rate": rate}) for recipe, rate in values.items()]
    )
    assert {"gru, recipe tutorial", "gru, recipe accurate"} == set(labels(*groups))


def test_the_name_of_a_recipe_parts_no_group_of_the_same_values() -> None:
    same = [result(seed=1, params={"recipe": "tutorial"}), result(seed=2, params={"recipe": "accurate"})]
    assert ["gru"] == labels(*grouping.grouped(same))


def test_a_param_that_an_older_run_lacks_parts_groups() -> None:
    groups = grouping.grouped([result(), result(params={"layers": "2"})])
    assert {"gru", "gru, layers 2"} == set(labels(*groups))


@pytest.mark.parametrize("typed", ["1e-3", "'0.001'", "0.0010"])
def test_a_value_is_the_same_however_it_was_typed(typed: str) -> None:
    same = [result(seed=1, params={"learning_rate": "0.001"}), result(seed=2, params={"learning_rate": typed})]
    assert ["gru"] == labels(*grouping.grouped(same))


def test_of_twins_the_one_that_ended_last_counts() -> None:
    (only,) = grouping.grouped([result(finished=2), result(finished=3), result(finished=1)])
    assert ["gru13"] == [each.run_id for each in only.results]


def test_the_recommended_group_is_the_best_by_validation_whatever_the_test_says() -> None:
    groups = grouping.grouped(
        [result("rnn", wrong=[0, 1, 2], val_accuracy=0.96), result("gru", wrong=NONE, val_accuracy=0.95)]
    )
    assert "rnn" == grouping.recommended(groups).label


# --- means ----------------------------------------------------------------------------------------------------------


def test_a_spread_is_mean_and_sample_standard_deviation() -> None:
    # By hand: mean 3, squared deviations 4 + 1 + 9, over n − 1 = 2.
    assert (3, math.sqrt(7)) == Spread.of([1, 2, 6])


def test_a_spread_of_one_seed_has_no_deviation() -> None:
    assert (0.98, None) == Spread.of([0.98])
    assert "98.00" == Spread.of([0.98]).text(2, scale=100)


def test_a_spread_is_written_as_mean_plus_minus_deviation() -> None:
    assert "98.50 ± 0.71" == Spread.of([0.98, 0.99]).text(2, scale=100)


def test_seconds_per_epoch_are_the_median_over_all_epochs_of_all_seeds() -> None:
    (only,) = grouping.grouped([result(seed=1, seconds=4, epochs=2), result(seed=2, seconds=20, epochs=2)])
    # Epochs of 2, 2, 10 and 10 seconds.
    assert 6 == only.epoch_seconds


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.012345, "0.0123"), (1, "1.00"), (12.34, "12.3"), (1_234.5, "1,234")]
)
def test_three_digits(value: float, text: str) -> None:
    assert text == grouping.three_digits(value)


def test_a_history_is_averaged_over_the_seeds_that_reached_the_epoch() -> None:
    params = {"epochs": "any"}
    (only,) = grouping.grouped([result(seed=1, epochs=2, params=params), result(seed=3, epochs=1, params=params)])
    table = grouping.history_table(only, "cost")
    # Costs 1/1 and 1/2 with seed 1, 3/1 with seed 3.
    assert [[1, 2, 1, 3], [2, 0.5, 0.5, 0.5]] == table.to_numpy().tolist()


# --- intervals ------------------------------------------------------------------------------------------------------


def test_the_interval_over_seeds_is_scipys_paired_t_interval() -> None:
    ours, theirs = np.array([0.981, 0.985, 0.983, 0.99]), np.array([0.97, 0.981, 0.984, 0.977])
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert grouping.t_interval(ours - theirs) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_interval_over_images_is_scipys_bootstrap() -> None:
    generator = np.random.default_rng(7)
    differences = generator.choice([-1, -1 / 3, 0, 1 / 3, 1], size=2_000, p=[0.01, 0.02, 0.9, 0.05, 0.02])
    scipys = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", batch=500, rng=np.random.default_rng(1)
    ).confidence_interval
    standard_error = differences.std() / math.sqrt(len(differences))
    found = grouping.bootstrap_interval(differences)
    # Ends of 10,000 resamples scatter by 0.027 standard errors; both do.
    assert found == pytest.approx((scipys.low, scipys.high), abs=0.15 * standard_error)


def test_the_interval_over_images_repeats_exactly() -> None:
    differences = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], size=100)
    assert grouping.bootstrap_interval(differences) == grouping.bootstrap_interval(differences)


def test_the_interval_of_images_that_all_agree_is_a_point() -> None:
    assert (0, 0) == grouping.bootstrap_interval(np.zeros(50))


@pytest.mark.parametrize(("low", "high", "covers"), [(-1, 1, True), (0, 1, True), (-1, 0, True), (0.1, 1, False)])
def test_an_interval_covers_zero_up_to_its_ends(low: float, high: float, covers: bool) -> None:
    assert covers == Interval(low, high).covers_zero


# --- verdicts -------------------------------------------------------------------------------------------------------

MANY = [0] * 1_000


def first(count: int) -> range:
    return range(count)


def test_a_difference_that_neither_interval_doubts_is_put_in_points() -> None:
    ours = group("gru", first(10), first(12), first(11), labels=MANY)
    theirs = group("lstm", first(100), first(105), first(103), labels=MANY)
    found = grouping.verdict(ours, theirs)
    expected = stats.ttest_rel([0.990, 0.988, 0.989], [0.9, 0.895, 0.897]).confidence_interval(0.95)
    assert found.over_seeds == pytest.approx((expected.low, expected.high))
    # By hand: 9.0, 9.3 and 9.2 points; of 1,000 images some 92 differ: ± 1.96 √(0.092 × 0.908 / 1,000) = ± 1.79.
    assert found.difference == pytest.approx(0.0916667, rel=1e-5)
    assert found.half_width == pytest.approx(0.0179, rel=0.05)
    assert f"gru better than lstm by 9.17 ± {100 * found.half_width:.2f} points" == found.words


def test_the_better_one_is_named_first_also_when_it_comes_second() -> None:
    worse = group("gru", first(100), first(105), first(103), labels=MANY)
    better = group("lstm", first(10), first(12), first(11), labels=MANY)
    assert grouping.verdict(worse, better).words.startswith("lstm better than gru by 9.17 ± ")


@pytest.mark.parametrize(
    ("over_seeds", "over_images"),
    [((-0.01, 0.05), (0.01, 0.03)), ((0.01, 0.03), (-0.01, 0.05)), ((-0.01, 0.05), (-0.01, 0.05))],
)
def test_one_interval_that_covers_zero_is_enough_for_no_difference(
    over_seeds: tuple[float, float], over_images: tuple[float, float]
) -> None:
    found = Verdict(
        first="gru",
        second="lstm",
        seeds=(1, 2, 3),
        difference=0.02,
        over_seeds=Interval(*over_seeds),
        over_images=Interval(*over_images),
    )
    assert not found.shown
    assert "no difference shown with 3 seeds" == found.words


def test_seeds_that_disagree_show_no_difference() -> None:
    ours = group("gru", first(10), first(100), labels=MANY)
    theirs = group("lstm", first(50), first(20), labels=MANY)
    assert "no difference shown with 2 seeds" == grouping.verdict(ours, theirs).words


def test_groups_that_answer_alike_do_not_differ() -> None:
    found = grouping.verdict(group("gru", [1], [2]), group("lstm", [1], [2]))
    assert ((0, 0), (0, 0)) == (found.over_seeds, found.over_images)
    assert "no difference shown with 2 seeds" == found.words


def test_one_seed_can_show_no_difference() -> None:
    found = grouping.verdict(group("gru", NONE), group("lstm", [0, 1, 2, 3, 4, 5]))
    assert found.over_seeds is None
    assert "one seed: no difference can be shown" == found.words


def test_only_common_seeds_are_compared() -> None:
    ours, theirs = group("gru", [0], [0], [0]), group("lstm", [1], [1], first_seed=3)
    found = grouping.verdict(ours, theirs)
    assert (3,) == found.seeds
    assert 0 == found.difference


def test_without_common_seeds_there_is_no_verdict() -> None:
    found = grouping.verdict(group("gru", [0]), group("lstm", [1], first_seed=2))
    assert found.difference is None
    assert "no common seeds: they cannot be compared" == found.words


def test_pairs_begin_with_the_recommended_group() -> None:
    pairs = [(each.first, each.second) for each in grouping.verdicts(three_groups())]
    assert [("gru", "lstm"), ("gru", "rnn"), ("lstm", "rnn")] == pairs


def test_one_group_has_no_pairs() -> None:
    assert [] == grouping.verdicts([group("gru", NONE)])


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_table_of_runs_has_a_row_per_training() -> None:
    table = grouping.runs_table(three_groups())
    assert ["rnn-s1", "rnn-s2", "lstm-s1", "lstm-s2", "gru-s1", "gru-s2"] == table["name"].to_list()
    assert [0.7, 0.7, 0.8, 0.9, 0.9, 0.9] == table["test_accuracy"].to_list()
    assert ["gru-s1"] == table.loc[table["taken_over"], "name"].to_list()


def test_the_summary_has_a_row_per_group_and_marks_the_recommended_one() -> None:
    table = grouping.summary_table(three_groups()).set_index("group")
    assert [2, 2, 2] == table["seeds"].to_list()
    assert [0.7, 0.85, 0.9] == pytest.approx(table["test_accuracy_mean"].to_list())
    # By hand: 0.8 and 0.9 deviate by 0.05 each; √(2 × 0.05² / 1).
    assert math.sqrt(0.005) == pytest.approx(table.loc["lstm", "test_accuracy_sd"])
    assert ["gru"] == table.index[table["recommended"]].to_list()


def test_the_summary_of_one_seed_leaves_deviations_out() -> None:
    assert pd.isna(grouping.summary_table([group("gru", NONE)])["test_accuracy_sd"][0])


def test_the_table_of_verdicts_has_a_row_per_pair() -> None:
    verdicts = grouping.verdicts(three_groups())
    table = grouping.verdicts_table(verdicts)
    assert [each.words for each in verdicts] == table["verdict"].to_list()
    assert [0.05, 0.2, 0.15] == pytest.approx(table["difference"].to_list())


def test_the_table_of_no_verdicts_still_has_its_columns() -> None:
    assert "images_high" in grouping.verdicts_table([]).columns


# --- answers --------------------------------------------------------------------------------------------------------


def test_wrong_in_all_are_the_images_that_no_training_gets_right() -> None:
    assert [3] == grouping.wrong_in_all(three_groups()).tolist()


def test_answers_are_counted_over_trainings_the_most_said_first() -> None:
    # Image 0 is a 0; rnn takes it for a 1 with both seeds, the others get it right.
    groups = three_groups()
    assert [(1, 2)] == grouping.answers(groups[:1], 0)
    assert [(0, 4), (1, 2)] == grouping.answers(groups, 0)


def test_a_confusion_is_summed_over_the_seeds() -> None:
    found: NDArray[np.int64] = grouping.confusion(group("gru", [0], [0, 1]), 3)
    assert 2 * len(LABELS) == found.sum()
    assert [[6, 2, 0], [0, 5, 1], [0, 0, 6]] == found.tolist()


def test_the_largest_error_share_is_that_of_any_matrix() -> None:
    matrices = [np.array([[9, 1], [0, 10]]), np.array([[10, 0], [3, 7]])]
    assert 0.3 == grouping.largest_error_share(matrices)
