"""What a report shows: tables, texts, the recommendation, the conditions, and which times can be compared."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import get_args

import pandas as pd
import pytest

from pipeline.comparison import grouping, report, report_data
from pipeline.comparison.grouping import Group
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
    assert "\n\n- Undecided: gru leads. It leads on validation accuracy by 4.00 points." in text
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
    assert ["0.00", "0.0123", "12.3", "1,234"] == [report.three_digits(each) for each in (0, 0.012345, 12.34, 1_234.5)]
    assert ["+0.12", "−0.30", "0.00"] == [grouping.points(fraction) for fraction in (0.0012, -0.003, -0.00001)]
    assert ["0 seeds", "1 seed", "1,200 seeds"] == [grouping.count_of(count, "seed") for count in (0, 1, 1_200)]


# --- the recommendation -----------------------------------------------------------------------------------------------


def test_the_best_by_validation_is_taken_where_it_is_significantly_better() -> None:
    gru, rnn = group("gru", *[range(10)] * 3, val=0.99), group("rnn", *[range(400)] * 3, val=0.6)
    found = ReportData(groups=[rnn, gru]).recommendation
    assert (gru, True, "Take gru") == (found.group, found.is_decided, found.headline)
    assert found.reason.startswith(
        "It leads on validation accuracy by 39.00 points. On the test data: gru is better than rnn by "
    )


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (3, "gru and rnn: no significant difference; 3 seeds can detect"),
        (2, "gru and rnn: 2 seeds are too few to test; it takes at least 3, better 5."),
    ],
)
def test_without_a_significant_difference_it_is_undecided_and_says_what_it_takes(seeds: int, said: str) -> None:
    wrong = [range(100), range(40, 150), range(90)]
    gru, rnn = group("gru", *wrong[:seeds], val=0.99), group("rnn", *wrong[::-1][:seeds], val=0.98)
    found = ReportData(groups=[gru, rnn]).recommendation
    assert (gru, False, "Undecided: gru leads") == (found.group, found.is_decided, found.headline)
    assert said in found.sentence


def test_a_leader_that_is_significantly_worse_on_the_test_images_is_not_taken() -> None:
    gru, rnn = group("gru", *[range(300)] * 3, val=0.99), group("rnn", *[range(10)] * 3, val=0.98)
    found = ReportData(groups=[gru, rnn]).recommendation
    assert "Undecided: gru leads" == found.headline
    assert "rnn is better than gru by 29.00" in found.reason


@pytest.mark.parametrize("accuracies", [(0.125, 0.104), (0.14, 0.09)])
def test_accuracies_near_chance_recommend_nothing(accuracies: tuple[float, float]) -> None:
    """A custom cell and gru with 12.5 % and 10.4 % of ten classes, from a user's report."""
    classes, labels = [str(number) for number in range(10)], [number % 10 for number in range(1_000)]
    groups = [
        grouping.grouped(
            result(cell, seed, wrong=range(round(1_000 * accuracy), 1_000), labels=labels, classes=classes)
            for seed in range(3)
        )[0]
        for cell, accuracy in zip(("my_cells:MGU", "gru"), accuracies, strict=True)
    ]
    found = ReportData(groups=groups).recommendation
    assert not found.is_decided
    assert "Undecided: test accuracies are near chance" == found.headline


def test_a_loser_near_chance_is_named() -> None:
    gru, rnn = group("gru", *[range(10)] * 3, val=0.99), group("rnn", *[range(650)] * 3, val=0.3)
    assert "Near chance: rnn. Train longer" in ReportData(groups=[gru, rnn]).recommendation.reason


def test_one_configuration_is_compared_with_nothing() -> None:
    assert "gru. There is nothing to compare it with." == ReportData(groups=[group("gru", [1])]).recommendation.sentence


def test_among_equals_the_one_with_the_fewest_parameters_leads_whatever_the_test_images_say() -> None:
    runs = [result("rnn", wrong=[0, 1, 2], parameters=10), result("gru", parameters=20)]
    assert "rnn" == grouping.recommended(grouping.grouped(runs)).label


# --- conditions and times ---------------------------------------------------------------------------------------------

QUIET: Mapping[str, str] = {"cores": "2", "machine": "a CPU, 2 cores, no GPU"}


def test_what_all_share_is_named_once_and_what_differs_for_each() -> None:
    params = {"hidden_units": "128", "recipe": "accurate", "layers": "1", "augmentation": "affine"}
    rates = (("rnn", "1e-3", "64"), ("lstm", "0.0025", "128"), ("gru", "0.0025", "128"))
    groups = grouping.grouped(
        result(cell, params=params | {"learning_rate": rate, "batch_size": size}, tags=QUIET)
        for cell, rate, size in rates
    )
    conditions = dict(report_data.conditions(groups))
    assert {
        "Epochs": "2",
        "Hidden units": "128",
        "Learning rate": "0.001 (rnn); 0.0025 (lstm, gru)",
        "Recipe": "accurate",
        "Augmentation": "affine",
        "Machine": "a CPU, 2 cores, no GPU",
        "Commit of the code": "not recorded",
    }.items() <= conditions.items()
    assert "Layers" not in conditions  # it is the default


def groups(*seconds: tuple[float, float | None], tags: Sequence[Mapping[str, str]] = (QUIET,)) -> list[Group]:
    """Return a group with a seed for each pair of wall time and processor time."""
    return grouping.grouped(
        result(seed=seed, seconds=wall, cpu_seconds=processor, tags=tags[seed % len(tags)])
        for seed, (wall, processor) in enumerate(seconds)
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([(60, 100), (58, 100), (65, 101)], ("train_seconds", "time", "Measured with 2 cores per run.")),
        ([(60, None)], ("train_seconds", "time", "Measured with 2 cores per run.")),
        ([(656, 260), (231, 230)], ("cpu_seconds", "processor time", "The machine was busy, so")),
        ([(60, 100), (90, 101)], ("cpu_seconds", "processor time", "The machine was busy, so")),
        ([(656, 260), (231, None)], ("train_seconds", "time", "Do not compare the times: the machine was busy.")),
    ],
)
def test_on_a_busy_machine_processor_time_is_compared(
    seconds: list[tuple[float, float | None]], expected: tuple[str, str, str]
) -> None:
    found = report_data.timing(groups(*seconds))
    assert expected[:2] == found[:2]
    assert found.note.startswith(expected[2])


def test_with_a_gpu_processors_may_wait() -> None:
    tags = {"cores": "2", "machine": "a CPU, 2 cores, a GPU"}
    assert "train_seconds" == report_data.timing(groups((100, 30), tags=[tags])).metric


@pytest.mark.parametrize("other", [{"cores": "1"}, {"machine": "another, 2 cores, no GPU"}])
def test_times_with_other_cores_or_machines_are_not_compared(other: dict[str, str]) -> None:
    found = report_data.timing(groups((60, 100), (60, 100), tags=[QUIET, {**QUIET, **other}]))
    assert "machines or numbers of cores differ" in found.note
