import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.comparison import grouping, tables, verdicts
from tests.unit.result_fixtures import LABELS, group, result, three_groups


def test_a_history_is_averaged_over_the_seeds_that_reached_the_epoch() -> None:
    params = {"epochs": "any"}
    (only,) = grouping.grouped([result(seed=1, epochs=2, params=params), result(seed=3, epochs=1, params=params)])
    table = tables.history_table(only, "cost")
    # Costs 1/1 and 1/2 with seed 1, 3/1 with seed 3.
    assert [[1, 2, 1, 3], [2, 0.5, 0.5, 0.5]] == table.to_numpy().tolist()


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_table_of_runs_has_a_row_per_training() -> None:
    table = tables.runs_table(three_groups())
    assert ["rnn-s1", "rnn-s2", "lstm-s1", "lstm-s2", "gru-s1", "gru-s2"] == table["name"].to_list()
    assert [0.7, 0.7, 0.8, 0.9, 0.9, 0.9] == table["test_accuracy"].to_list()
    assert ["gru-s1"] == table.loc[table["taken_over"], "name"].to_list()


def test_the_summary_has_a_row_per_group_and_marks_the_recommended_one() -> None:
    table = tables.summary_table(three_groups()).set_index("group")
    assert [2, 2, 2] == table["seeds"].to_list()
    assert [0.7, 0.85, 0.9] == pytest.approx(table["test_accuracy_mean"].to_list())
    # By hand: 0.8 and 0.9 deviate by 0.05 each; √(2 × 0.05² / 1).
    assert math.sqrt(0.005) == pytest.approx(table.loc["lstm", "test_accuracy_sd"])
    assert ["gru"] == table.index[table["recommended"]].to_list()


def test_the_summary_of_one_seed_leaves_deviations_out() -> None:
    assert pd.isna(tables.summary_table([group("gru", [])])["test_accuracy_sd"][0])


def test_the_table_of_verdicts_has_a_row_per_pair() -> None:
    found = verdicts.verdicts(three_groups())
    table = tables.verdicts_table(found)
    assert [each.words for each in found] == table["verdict"].to_list()
    assert [0.05, 0.2, 0.15] == pytest.approx(table["difference"].to_list())


def test_the_table_of_no_verdicts_still_has_its_columns() -> None:
    assert "images_high" in tables.verdicts_table([]).columns


# --- answers --------------------------------------------------------------------------------------------------------


def test_wrong_in_all_are_the_images_that_no_training_gets_right() -> None:
    assert [3] == tables.wrong_in_all(three_groups()).tolist()


def test_answers_are_counted_over_trainings_the_most_said_first() -> None:
    # Image 0 is a 0; rnn takes it for a 1 with both seeds, the others get it right.
    groups = three_groups()
    assert [(1, 2)] == tables.answers(groups[:1], 0)
    assert [(0, 4), (1, 2)] == tables.answers(groups, 0)


def test_a_confusion_is_summed_over_the_seeds() -> None:
    found: NDArray[np.int64] = tables.confusion(group("gru", [0], [0, 1]), 3)
    assert 2 * len(LABELS) == found.sum()
    assert [[6, 2, 0], [0, 5, 1], [0, 0, 6]] == found.tolist()


def test_the_largest_error_share_is_that_of_any_matrix() -> None:
    matrices = [np.array([[9, 1], [0, 10]]), np.array([[10, 0], [3, 7]])]
    assert 0.3 == tables.largest_error_share(matrices)
