"""Which configuration is recommended, and where nothing can be concluded."""

import pytest

from pipeline.comparison import grouping
from pipeline.comparison.report_data import ReportData
from tests.unit.result_fixtures import group, result


def test_the_best_by_validation_is_taken_where_it_is_significantly_better() -> None:
    gru, rnn = group("gru", *[range(10)] * 3, val=0.99), group("rnn", *[range(400)] * 3, val=0.6)
    found = ReportData(groups=[rnn, gru]).recommendation
    assert (gru, True, "Take gru") == (found.group, found.is_decided, found.headline)
    assert found.reason.startswith(
        "It leads on validation by 39.00 points. On the test images: gru better than rnn by "
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
    assert "rnn better than gru by 29.00" in found.reason


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
