"""Tables and texts of a report."""

import io
import json
import math
from typing import get_args

import pandas as pd
import pytest

from pipeline.comparison import formatting, grouping, report_data
from pipeline.comparison.report_data import Form, ReportData
from tests.unit.result_fixtures import group, result, three_groups

THREE = ReportData(groups=three_groups())


def test_the_table_of_runs_has_a_row_per_run() -> None:
    table = THREE.runs()
    assert ["rnn-s1", "rnn-s2", "lstm-s1", "lstm-s2", "gru-s1", "gru-s2"] == table["name"].to_list()
    assert [0.7, 0.7, 0.8, 0.9, 0.9, 0.9] == table["test_accuracy"].to_list()
    assert ["gru-s1"] == table.loc[table["reused"], "name"].to_list()


def test_the_summary_has_a_row_per_group_and_marks_the_recommended_one() -> None:
    table = THREE.summary().set_index("group")
    assert [2, 2, 2] == table["seeds"].to_list()
    assert [0.7, 0.85, 0.9] == pytest.approx(table["test_accuracy_mean"].to_list())
    # By hand: 0.8 and 0.9 deviate by 0.05 each; √(2 × 0.05² / 1).
    assert math.sqrt(0.005) == pytest.approx(table.loc["lstm", "test_accuracy_sd"])
    # Image 3 of the four of class a is wrong: recall 3/4, 1, 1; F1 6/7 (3 right, 4 there, 3 said), 6/7, 1.
    assert (0.75 + 2) / 3 == pytest.approx(table.loc["gru", "test_balanced_accuracy_mean"])
    assert (6 / 7 + 6 / 7 + 1) / 3 == pytest.approx(table.loc["gru", "test_macro_f1_mean"])
    assert ["gru"] == table.index[table["recommended"]].to_list()
    assert pd.isna(ReportData(groups=[group("gru", [])]).summary()["test_accuracy_sd"][0])


def test_processor_time_is_in_the_tables_where_it_is_known() -> None:
    known = ReportData(groups=grouping.grouped(result(seed=seed, cpu_seconds=10.0 * seed) for seed in (1, 3)))
    assert 20 == known.summary()["cpu_seconds_mean"][0]
    assert [10, 30] == known.runs()["cpu_seconds"].to_list()
    assert "cpu_seconds_mean" not in THREE.summary()


def test_the_table_of_tests_has_a_row_per_pair() -> None:
    table = THREE.test_table()
    assert [test.words for test in THREE.tests] == table["result"].to_list()
    assert [0.05, 0.2, 0.15] == pytest.approx(table["difference"].to_list())
    assert "seeds_for_half" in ReportData(groups=[group("gru", [])]).test_table().columns


def test_images_that_all_get_wrong_come_with_their_answers() -> None:
    assert {3: [(1, 6)]} == THREE.wrong_in_all
    runs = [result("gru", wrong=[0, 5]), result("rnn", wrong=[0, 5])]
    runs[1].answers.loc[0, "predicted"] = 2
    found = ReportData(groups=grouping.grouped(runs)).wrong_in_all
    assert [(5, [(0, 2)]), (0, [(1, 1), (2, 1)])] == list(found.items())


def test_a_report_as_markdown_is_the_summary_the_recommendation_and_the_tests() -> None:
    text = THREE.text("markdown")
    assert "| lstm | 2 | 90.00 ± 0.00 | 85.00 ± 7.07 |" in text
    assert "\n\n- Undecided: gru leads. It leads on validation by 4.00 points." in text
    assert text.endswith("- lstm and rnn: 2 seeds are too few to test; it takes at least 3, better 5.\n")


def test_a_report_as_csv_json_and_latex() -> None:
    pd.testing.assert_frame_equal(THREE.summary(), pd.read_csv(io.StringIO(THREE.text("csv"))))
    read = json.loads(THREE.text("json"))
    assert {"recommendation", "summary", "pairwise_tests", "runs"} == read.keys()
    assert [0.7, 0.85, 0.9] == pytest.approx([each["test_accuracy_mean"] for each in read["summary"]])
    assert [None] * 3 == [each["p_value"] for each in read["pairwise_tests"]]
    assert r"85.00 $\pm$ 7.07" in THREE.text("latex")


@pytest.mark.parametrize("form", get_args(Form))
def test_one_group_is_a_report_too(form: Form) -> None:
    assert "gru" in ReportData(groups=grouping.grouped([result()])).text(form)


def test_names_stay_in_their_cells() -> None:
    table = pd.DataFrame({"accuracy (%)": ["98.7 ± 0.1"], "group": ["a|b\nc_d & more"]})
    assert "| 98.7 ± 0.1 | a\\|b c_d & more |\n" in report_data.as_text(table, "markdown")
    assert r"98.7 $\pm$ 0.1 &" in report_data.as_text(table, "latex")
    assert r"c\_d \& more \\" in report_data.as_text(table, "latex")


def test_numbers_as_they_are_written() -> None:
    assert ["0.00", "0.0123", "12.3", "1,234"] == [
        formatting.three_digits(each) for each in (0, 0.012345, 12.34, 1_234.5)
    ]
    assert ["+0.12", "−0.30", "0.00"] == [formatting.points(fraction) for fraction in (0.0012, -0.003, -0.00001)]
    assert ["0 seeds", "1 seed", "1,200 seeds"] == [formatting.count_of(count, "seed") for count in (0, 1, 1_200)]
