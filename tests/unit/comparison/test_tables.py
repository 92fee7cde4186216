import io
import json
import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.comparison import grouping, pairwise_tests, tables
from tests.unit.result_fixtures import LABELS, group, result, summary_of, three_groups


def test_a_history_is_averaged_as_far_as_all_seeds_went() -> None:
    params = {"epochs": "any"}
    epochs = {1: 3, 3: 2}
    (only,) = grouping.grouped([result(seed=seed, epochs=epochs[seed], params=params) for seed in epochs])
    table = tables.history_table(only, "cost")
    # Costs 1/1, 1/2 and 1/3 with seed 1, 3/1 and 3/2 with seed 3.
    assert [[1, 2, 1, 3], [2, 1, 0.5, 1.5]] == table.to_numpy().tolist()


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_table_of_runs_has_a_row_per_training() -> None:
    table = tables.runs_table(three_groups())
    assert ["rnn-s1", "rnn-s2", "lstm-s1", "lstm-s2", "gru-s1", "gru-s2"] == table["name"].to_list()
    assert [0.7, 0.7, 0.8, 0.9, 0.9, 0.9] == table["test_accuracy"].to_list()
    assert ["gru-s1"] == table.loc[table["taken_over"], "name"].to_list()


def test_the_summary_has_a_row_per_group_and_marks_the_recommended_one() -> None:
    table = summary_of(three_groups()).set_index("group")
    assert [2, 2, 2] == table["seeds"].to_list()
    assert [0.7, 0.85, 0.9] == pytest.approx(table["test_accuracy_mean"].to_list())
    # By hand: 0.8 and 0.9 deviate by 0.05 each; √(2 × 0.05² / 1).
    assert math.sqrt(0.005) == pytest.approx(table.loc["lstm", "test_accuracy_sd"])
    assert ["gru"] == table.index[table["recommended"]].to_list()


def test_the_summary_of_one_seed_leaves_deviations_out() -> None:
    assert pd.isna(summary_of([group("gru", [])])["test_accuracy_sd"][0])


def test_the_table_of_verdicts_has_a_row_per_pair() -> None:
    found = pairwise_tests.verdicts(three_groups())
    table = tables.verdicts_table(found)
    assert [each.words for each in found] == table["verdict"].to_list()
    assert [0.05, 0.2, 0.15] == pytest.approx(table["difference"].to_list())


def test_the_table_of_no_verdicts_still_has_its_columns() -> None:
    assert "images_high" in tables.verdicts_table([]).columns


# --- as text --------------------------------------------------------------------------------------------------------


def test_the_summary_tells_what_is_recommended_from_what_is_best_by_validation() -> None:
    table = summary_of(three_groups())
    assert table["best_by_validation"].to_list() == table["recommended"].to_list()


def test_processor_time_is_in_the_tables_where_it_is_known() -> None:
    known = grouping.grouped(result(seed=seed, cpu_seconds=10.0 * seed) for seed in (1, 3))
    assert 20 == summary_of(known)["cpu_seconds_mean"][0]
    assert [10, 30] == tables.runs_table(known)["cpu_seconds"].to_list()
    assert "cpu_seconds_mean" not in summary_of(three_groups())


def test_a_table_as_markdown_keeps_each_text_in_its_cell() -> None:
    table = pd.DataFrame({"name": ["a|b\nc", "d"], "value": ["1", "2"]})
    assert "| name | value |\n| --- | --- |\n| a\\|b c | 1 |\n| d | 2 |\n" == tables.as_text(table, "markdown")


def test_a_table_as_latex_escapes_what_latex_reads() -> None:
    table = pd.DataFrame({"accuracy (%)": ["98.7 ± 0.1"], "group": ["gru, hidden_units 64 & more"]})
    text = tables.as_text(table, "latex")
    assert r"accuracy (\%) & group \\" in text
    assert r"98.7 $\pm$ 0.1 & gru, hidden\_units 64 \& more \\" in text


def test_a_report_as_markdown_is_the_summary_the_advice_and_the_verdicts() -> None:
    text = tables.report_text(three_groups(), "markdown")
    assert "| lstm | 2 | 90.00 ± 0.00 | 85.00 ± 7.07 | 0.5000 ± 0.0000 | 20.0 ± 0.0 | 1,000 |\n" in text
    assert "\n\n- Take gru: 4.00 points ahead of lstm on validation;" in text
    assert text.endswith("- lstm and rnn: 2 seeds are too few to tell: it takes at least 3, better 5.\n")


def test_a_report_as_csv_is_the_summary_in_numbers() -> None:
    read = pd.read_csv(io.StringIO(tables.report_text(three_groups(), "csv")))
    pd.testing.assert_frame_equal(summary_of(three_groups()), read)


def test_a_report_as_json_holds_all_numbers() -> None:
    read = json.loads(tables.report_text(three_groups(), "json"))
    assert {"advice", "groups", "verdicts", "runs"} == read.keys()
    assert read["advice"].startswith("Take gru: ")
    assert [0.7, 0.85, 0.9] == pytest.approx([each["test_accuracy_mean"] for each in read["groups"]])
    assert [None] * 3 == [each["p_value"] for each in read["verdicts"]]
    assert 6 == len(read["runs"])


def test_a_report_as_latex_is_the_readable_summary() -> None:
    text = tables.report_text(three_groups(), "latex")
    assert text.startswith(r"\begin{tabular}")
    assert r"85.00 $\pm$ 7.07" in text


@pytest.mark.parametrize("form", get_args(tables.Form))
def test_one_group_is_a_report_too(form: tables.Form) -> None:
    text = tables.report_text(grouping.grouped([result()]), form)
    assert "gru" in text
    assert "Take" not in text


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
