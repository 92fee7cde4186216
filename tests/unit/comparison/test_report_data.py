"""The data of a report: tables, texts, the recommendation, and the conditions."""

import io
import json
import math

import pandas as pd
import pytest

from pipeline.comparison import report_data
from pipeline.comparison.grouping import count_of, grouped, points
from pipeline.comparison.report_data import ReportData
from tests.unit.result_fixtures import group, result, three_groups

THREE = ReportData(groups=three_groups())


def test_the_summary_has_a_row_per_group_and_marks_the_recommended_one() -> None:
    table = THREE.summary().set_index("group")
    assert [2, 2, 2] == table["seeds"].to_list()
    assert [0.9, 0.85, 0.7] == pytest.approx(table["test_accuracy_mean"].to_list())
    # By hand: 0.8 and 0.9 deviate by 0.05 each; √(2 × 0.05² / 1).
    assert math.sqrt(0.005) == pytest.approx(table.loc["lstm", "test_accuracy_sd"])
    # Image 3 of the four of class a is wrong: recall 3/4, 1, 1; F1 6/7 (3 right, 4 there, 3 said), 6/7, 1.
    assert (0.75 + 2) / 3 == pytest.approx(table.loc["gru", "test_balanced_accuracy_mean"])
    assert (6 / 7 + 6 / 7 + 1) / 3 == pytest.approx(table.loc["gru", "test_macro_f1_mean"])
    assert ["gru"] == table.index[table["recommended"]].to_list()
    alone = ReportData(groups=[group("gru", [])])
    assert pd.isna(alone.summary()["test_accuracy_sd"][0])
    assert "gru. There is nothing to compare it with." == alone.recommendation.sentence
    assert "p_value" in alone.test_table().columns


def test_images_that_all_get_wrong_come_with_their_answers() -> None:
    assert {3: [(1, 6)]} == THREE.wrong_in_all
    runs = [result("gru", wrong=[0, 5]), result("rnn", wrong=[0, 5])]
    runs[1].answers.loc[0, "predicted"] = 2
    found = ReportData(groups=grouped(runs)).wrong_in_all
    assert [(5, [(0, 2)]), (0, [(1, 1), (2, 1)])] == list(found.items())


def test_a_report_as_markdown_is_the_summary_the_recommendation_and_the_tests() -> None:
    text = THREE.text("markdown")
    assert "| lstm | 2 | 90.00 ± 0.00 | 85.00 ± 7.07 |" in text
    assert "\n\n- Undecided: gru leads. It leads lstm by 4.00 points of validation accuracy." in text
    assert text.endswith("- lstm and rnn cannot be tested with fewer than 3 seeds each; 5 are better.\n")
    assert "| a\\|b c & d | 1 |" in ReportData(groups=grouped([result("a|b\nc & d")])).text("markdown")


def test_a_report_as_csv_and_json() -> None:
    pd.testing.assert_frame_equal(THREE.summary(), pd.read_csv(io.StringIO(THREE.text("csv"))))
    read = json.loads(THREE.text("json"))
    assert {"recommendation", "summary", "pairwise_tests", "runs"} == read.keys()
    assert [0.9, 0.85, 0.7] == pytest.approx([each["test_accuracy_mean"] for each in read["summary"]])
    assert [None] * 3 == [each["p_value"] for each in read["pairwise_tests"]]


def test_numbers_in_sentences() -> None:
    assert ["+0.12", "−0.30", "0.00"] == [points(fraction) for fraction in (0.0012, -0.003, -0.00001)]
    assert ["0 seeds", "1 seed", "1,200 seeds"] == [count_of(count, "seed") for count in (0, 1, 1_200)]


# --- the recommendation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gru", "rnn", "is_decided", "headline", "reason"),
    [
        (
            [range(10)] * 3,
            [range(400)] * 3,
            True,
            "Take gru",
            "It leads rnn by 39.00 points of validation accuracy. On the test data, gru is better than rnn by 39.00 ±",
        ),
        (
            [range(100), range(40, 150), range(90)],
            [range(90), range(40, 150), range(100)],
            False,
            "Undecided: gru leads",
            "gru leads rnn by 0.00 points, which is not significant: with 3 seeds that vary this much, a difference",
        ),
        ([range(100)] * 2, [range(40, 150)] * 2, False, "Undecided: gru leads", "cannot be tested with fewer than 3"),
        ([range(300)] * 3, [range(10)] * 3, False, "Undecided: gru leads", "rnn is better than gru by 29.00"),
    ],
    ids=["better", "not significant", "too few seeds", "worse on the test data"],
)
def test_a_significantly_better_group_is_recommended(
    gru: list[range], rnn: list[range], is_decided: bool, headline: str, reason: str
) -> None:
    found = ReportData(groups=[group("gru", *gru, val=0.99), group("rnn", *rnn, val=0.6)]).recommendation
    assert (is_decided, headline) == (found.is_decided, found.headline)
    assert reason in found.reason


@pytest.mark.parametrize("accuracies", [(0.125, 0.104), (0.14, 0.09)])
def test_accuracies_near_chance_recommend_nothing(accuracies: tuple[float, float]) -> None:
    """A custom cell and gru with 12.5 % and 10.4 % of ten classes, from a user's report."""
    classes, labels = [str(number) for number in range(10)], [number % 10 for number in range(1_000)]
    groups = grouped(
        result(cell, seed, wrong=range(round(1_000 * accuracy), 1_000), labels=labels, classes=classes)
        for seed in range(3)
        for cell, accuracy in zip(("my_cells:MGU", "gru"), accuracies, strict=True)
    )
    found = ReportData(groups=groups).recommendation
    assert (False, "Undecided: test accuracies are near chance") == (found.is_decided, found.headline)


def test_shared_conditions_are_named_once_and_different_ones_per_group() -> None:
    tags = {"cores": "2", "machine": "a CPU, 2 cores, no GPU"}
    params = {"hidden_units": "128", "recipe": "accurate", "layers": "1", "augmentation": "affine"}
    rates = (("rnn", "1e-3", "64"), ("lstm", "0.0025", "128"), ("gru", "0.0025", "128"))
    groups = grouped(
        result(cell, params=params | {"learning_rate": rate, "batch_size": size}, tags=tags)
        for cell, rate, size in rates
    )
    conditions = dict(report_data.conditions(groups))
    assert {
        "Epochs": "2",
        "Hidden units": "128",
        "Learning rate": "0.0025 (gru, lstm); 0.001 (rnn)",
        "Recipe": "accurate",
        "Augmentation": "affine",
        "Machine": "a CPU, 2 cores, no GPU",
        "Cores per run": "2",
        "Code commit": "not recorded",
    }.items() <= conditions.items()
