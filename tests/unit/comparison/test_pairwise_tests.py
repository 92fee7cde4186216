"""Pairwise tests, compared with formulas from textbooks, scipy and simulations."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.comparison import pairwise_tests
from pipeline.comparison.grouping import Group
from pipeline.errors import RegressionError
from pipeline.progress import Reporter
from pipeline.tracking import store
from tests.unit.result_fixtures import group, random_group, three_groups

NONE: Sequence[int] = ()


def answers(of: Group) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([each.answers["label"] == each.answers["predicted"] for each in of.results], float)


def half_width(difference: np.ndarray[tuple[int, int], np.dtype[np.float64]], level: float) -> float:
    """Return √(t² V_seeds + t² V_images) of paired differences (S, N), from an analysis of variance with loops."""
    seeds, images = difference.shape
    over_seeds = np.var([row.mean() for row in difference], ddof=1) / seeds
    over_images = np.var([column.mean() for column in difference.T], ddof=1) / images
    residuals = [
        difference[seed, image] - difference[seed].mean() - difference[:, image].mean() + difference.mean()
        for seed in range(seeds)
        for image in range(images)
    ]
    interaction = sum(each**2 for each in residuals) / ((seeds - 1) * (images - 1)) / (seeds * images)
    quantiles = stats.t.isf(level / 2, [seeds - 1, images - 1])
    return float(np.sqrt(quantiles**2 @ [over_seeds, max(over_images - interaction, 0)]))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_includes_the_variance_of_seeds_and_images(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    first, second = (random_group(random, range(seeds), images=200) for _ in range(2))
    test = pairwise_tests.between(first, second)
    differences = answers(first) - answers(second)
    assert differences.mean() == pytest.approx(test.difference)
    assert half_width(differences, 0.05) == pytest.approx(test.half_width)
    assert abs(test.difference) == pytest.approx(half_width(differences, test.p_value or 0))


def test_without_variance_between_images_the_test_is_a_paired_t_test() -> None:
    """Seed s gets the first images wrong with one group, none with the other: hardly anything is left to the images."""
    first, second = group("gru", *[range(count) for count in (100, 300, 200, 250)], images=100_000), NONE
    test = pairwise_tests.between(first, group("rnn", *[second] * 4, images=100_000))
    expected = stats.ttest_1samp([-0.001, -0.003, -0.002, -0.0025], 0)
    assert expected.pvalue == pytest.approx(test.p_value, rel=0.05)


@pytest.mark.parametrize("others", [range(3), range(5, 8), [7]], ids=["common seeds", "other seeds", "one run"])
def test_equal_configurations_are_called_different_in_at_most_5_percent(others: Sequence[int]) -> None:
    """Seeds have a standard deviation of 1 point; by the test images alone, 28 % of single runs would differ."""
    random, found = np.random.default_rng(1), []
    for _ in range(400):
        first, second = random_group(random, range(3), images=2_000), random_group(random, others, images=2_000)
        found.append(pairwise_tests.between(first, second, borrow=True).is_significant)
    assert np.mean(found) <= 0.065  # the standard error of 400 repetitions is 0.011


@pytest.mark.parametrize("seeds", [(1, 1), (2, 2), (3, 2), (1, 5)])
def test_fewer_than_three_seeds_are_not_tested_and_the_required_number_is_shown(seeds: tuple[int, int]) -> None:
    test = pairwise_tests.between(group("gru", *[NONE] * seeds[0]), group("lstm", *[range(900)] * seeds[1]))
    assert (None, None, False) == (test.p_value, test.interval, test.is_significant)
    assert "gru and lstm cannot be tested with fewer than 3 seeds each; 5 are better." == test.sentence


def test_p_value_interval_and_decision_agree() -> None:
    random = np.random.default_rng(3)
    accuracies = (0.9, 0.91, 0.93, 0.96)
    groups = [replace(random_group(random, range(4), accuracy=each), label=str(each)) for each in accuracies]
    tests = pairwise_tests.pairwise_tests(groups)
    assert {True, False} == {test.is_significant for test in tests}
    for test in tests:
        assert test.interval is not None
        assert test.is_significant == (not test.interval[0] <= 0 <= test.interval[1]) == ((test.p_value or 0) < 0.05)


def test_holm_adjusts_as_r_does() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), method = "holm") in R: 0.03 0.06 0.06 0.02.
    levels, adjusted = zip(*pairwise_tests.holm([0.01, 0.04, 0.03, 0.005]), strict=True)
    assert [0.03, 0.06, 0.06, 0.02] == pytest.approx(list(adjusted))
    # By hand: 0.005 < 0.05 / 4 and 0.01 < 0.05 / 3 pass, 0.03 > 0.05 / 2 does not, and ends it.
    assert [0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4] == pytest.approx(list(levels))
    assert [(0.05, 0.04)] == pairwise_tests.holm([0.04])
    assert [] == pairwise_tests.holm([])


def test_a_significant_difference_is_given_in_points_and_names_the_better_one_first() -> None:
    worse, better = group("gru", range(100), range(105), range(103)), group("lstm", range(10), range(12), range(11))
    for test in (pairwise_tests.between(worse, better), pairwise_tests.between(better, worse)):
        # By hand: 9.0, 9.3 and 9.2 points; of 1,000 images some 92 differ: ± 1.96 √(0.092 × 0.908 / 1,000) = ± 1.79.
        assert 0.0916667 == pytest.approx(abs(test.difference), rel=1e-5)
        assert 0.0179 == pytest.approx(test.half_width, rel=0.1)
        assert f"lstm is better than gru by 9.17 ± {100 * (test.half_width or 0):.2f} points." == test.sentence


def test_groups_that_answer_alike_do_not_differ() -> None:
    test = pairwise_tests.between(group("gru", [1], [2], [3]), group("lstm", [1], [2], [3]))
    assert (1.0, (0, 0)) == (test.p_value, test.interval)
    assert "gru and lstm do not differ: all seeds are right on the same examples." == test.sentence


def test_only_common_seeds_are_compared_where_there_are_enough() -> None:
    ours = group("gru", [0], [0], [0], range(500))
    test = pairwise_tests.between(ours, group("lstm", [1], [1], [1]))
    assert (3, 0) == (test.seeds, test.difference)


def test_pairs_begin_with_the_best_by_validation() -> None:
    pairs = [(test.first, test.second) for test in pairwise_tests.pairwise_tests(three_groups())]
    assert [("gru", "lstm"), ("gru", "rnn"), ("lstm", "rnn")] == pairs
    assert [] == pairwise_tests.pairwise_tests([group("gru", NONE)])


# --- against an existing model ----------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(5)
SOME = [RANDOM.choice(1_000, 100, replace=False).tolist() for _ in range(4)]
MANY = [RANDOM.choice(1_000, 400, replace=False).tolist() for _ in range(4)]


@pytest.mark.parametrize(
    ("ours", "theirs", "standing", "said"),
    [
        (SOME[:3], MANY[3:], "better", "gru is better than models:/m@champion by 30.00 ± "),
        (MANY[:3], SOME[3:], "worse", "models:/m@champion is better than gru by 30.00 ± "),
        (
            SOME[:3],
            SOME[3:],
            "no significant difference",
            "gru trails models:/m@champion by 0.00 points, which is not significant: with 3 seeds",
        ),
        (MANY[:2], SOME[3:], "not tested", "Train at least 3 seeds to decide."),
    ],
)
def test_a_group_is_better_or_worse_only_if_significant(
    ours: list[list[int]], theirs: list[list[int]], standing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags, shown = dict[str, str](), list[str]()
    monkeypatch.setattr(store, "log_tags", lambda run_id, added: tags.update(added))
    monkeypatch.setattr(Reporter, "result", lambda self, text: shown.append(text))
    groups = group("gru", *ours), group("rnn", *theirs, first_seed=9)
    with pytest.raises(RegressionError) if standing == "worse" else nullcontext() as raised:
        pairwise_tests.check_regression("r", *groups, "models:/m@champion", Reporter(), register=None)
    assert {"against": "models:/m@champion", "standing": standing} == tags
    assert f"against: {standing}. {said}" in str(raised.value if raised else shown)
