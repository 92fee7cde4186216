import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.comparison import pairwise_tests
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import Interval, Resampled, Verdict
from tests.unit.result_fixtures import group, three_groups

NONE: Sequence[int] = ()


# --- intervals ------------------------------------------------------------------------------------------------------


def test_the_interval_over_seeds_is_scipys_paired_t_interval() -> None:
    ours, theirs = np.array([0.981, 0.985, 0.983, 0.99]), np.array([0.97, 0.981, 0.984, 0.977])
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert pairwise_tests.t_interval(ours - theirs) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_interval_over_images_is_scipys_bootstrap() -> None:
    generator = np.random.default_rng(7)
    votes = generator.choice([-3, -1, 0, 1, 3], size=2_000, p=[0.01, 0.02, 0.9, 0.05, 0.02])
    scipys = stats.bootstrap(
        (votes / 3,), np.mean, n_resamples=10_000, method="percentile", batch=500, rng=np.random.default_rng(1)
    ).confidence_interval
    standard_error = (votes / 3).std() / math.sqrt(len(votes))
    found = Resampled.of(votes, 3).interval()
    # Ends of 10,000 resamples scatter by 0.027 standard errors.
    assert found == pytest.approx((scipys.low, scipys.high), abs=0.15 * standard_error)


def test_the_bootstrap_of_images_right_with_one_group_only_is_binomial() -> None:
    votes = np.repeat([1, 0], [3, 97])
    found, drawn = Resampled.of(votes, 1), stats.binom(100, 0.03)
    assert drawn.cdf(np.arange(101)) == pytest.approx(found.below[100:], abs=1e-12)
    assert (drawn.ppf(0.025) / 100, drawn.ppf(0.975) / 100) == pytest.approx(found.interval())
    assert 2 * 0.97**100 == pytest.approx(found.p_value)


def test_the_interval_over_images_repeats_exactly() -> None:
    votes = np.random.default_rng(3).choice([-1, 0, 1], size=100)
    assert Resampled.of(votes, 1).interval() == Resampled.of(votes, 1).interval()


def test_the_interval_of_images_that_all_agree_is_a_point() -> None:
    assert (0, 0) == Resampled.of(np.zeros(50, np.int64), 1).interval()
    assert 1 == Resampled.of(np.zeros(50, np.int64), 1).p_value


@pytest.mark.parametrize("level", [0.05, 0.05 / 3, 0.001])
@pytest.mark.parametrize("shift", [0.0, 0.004, 0.008, 0.02])
def test_an_interval_covers_zero_where_the_test_of_its_level_does_not_pass(level: float, shift: float) -> None:
    generator = np.random.default_rng(11)
    votes = generator.choice([-2, -1, 0, 1, 2], size=1_000, p=[0.01, 0.02, 0.94 - shift, 0.02 + shift, 0.01])
    images = Resampled.of(votes, 2)
    assert images.interval(level).covers_zero == (images.p_value >= level)
    seeds = generator.normal(shift, 0.005, size=4)
    assert pairwise_tests.t_interval(seeds, level).covers_zero == (pairwise_tests.t_p_value(seeds) >= level)


@pytest.mark.parametrize("differences", [(0.012, 0.004, 0.009), (0.01, -0.02, 0.005, 0.003)])
def test_the_p_value_over_seeds_is_scipys_of_the_paired_t_test(differences: tuple[float, ...]) -> None:
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert expected == pytest.approx(pairwise_tests.t_p_value(np.array(differences)))


@pytest.mark.parametrize(("differences", "p_value"), [((0, 0, 0), 1), ((0.5, 0.5, 0.5), 0)])
def test_the_p_value_of_seeds_that_do_not_spread(differences: tuple[float, ...], p_value: float) -> None:
    assert p_value == pairwise_tests.t_p_value(np.array(differences))


def test_holm_adjusts_as_r_does() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), method = "holm") in R: 0.03 0.06 0.06 0.02.
    steps = pairwise_tests.holm([0.01, 0.04, 0.03, 0.005])
    assert [0.03, 0.06, 0.06, 0.02] == pytest.approx([step.p_value for step in steps])
    # By hand: 0.005 < 0.05 / 4 and 0.01 < 0.05 / 3 pass, 0.03 > 0.05 / 2 does not, and ends it.
    assert [0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4] == pytest.approx([step.level for step in steps])


def test_holm_leaves_a_single_test_as_it_is() -> None:
    assert [(0.05, 0.04)] == pairwise_tests.holm([0.04])
    assert [] == pairwise_tests.holm([])


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
    found = pairwise_tests.verdict(ours, theirs)
    expected = stats.ttest_rel([0.990, 0.988, 0.989], [0.9, 0.895, 0.897]).confidence_interval(0.95)
    assert found.over_seeds == pytest.approx((expected.low, expected.high))
    # By hand: 9.0, 9.3 and 9.2 points; of 1,000 images some 92 differ: ± 1.96 √(0.092 × 0.908 / 1,000) = ± 1.79.
    assert found.difference == pytest.approx(0.0916667, rel=1e-5)
    assert found.half_width == pytest.approx(0.0179, rel=0.05)
    assert f"gru better than lstm by 9.17 ± {100 * found.half_width:.2f} points" == found.words


def test_the_better_one_is_named_first_also_when_it_comes_second() -> None:
    worse = group("gru", first(100), first(105), first(103), labels=MANY)
    better = group("lstm", first(10), first(12), first(11), labels=MANY)
    assert pairwise_tests.verdict(worse, better).words.startswith("lstm better than gru by 9.17 ± ")


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
    assert (
        f"no difference shown with 3 seeds, which could have shown {100 * found.half_width:.2f} points" in found.words
    )


def test_seeds_that_disagree_show_no_difference_and_how_large_one_could_have_been() -> None:
    ours = group("gru", first(10), first(100), first(40), labels=MANY)
    theirs = group("lstm", first(50), first(20), first(45), labels=MANY)
    found = pairwise_tests.verdict(ours, theirs)
    low, high = stats.ttest_rel([0.99, 0.9, 0.96], [0.95, 0.98, 0.955]).confidence_interval(0.95)
    half = 100 * (high - low) / 2
    # From a table of t: 4.303 / √3 standard deviations with three seeds, 2.776 / √5 with five, which is half of that.
    assert (
        f"no difference shown with 3 seeds, which could have shown {half:.2f} points; 5 seeds would show {half / 2:.2f}"
    ) == found.words


def test_where_more_seeds_would_not_do_it_takes_more_images() -> None:
    ours = group("gru", range(10), range(12), range(11), labels=MANY)
    theirs = group("lstm", range(90, 100), range(90, 102), range(90, 101), labels=MANY)
    assert pairwise_tests.verdict(ours, theirs).words.endswith(
        " points; to show half of that takes more test images than 1,000"
    )


def test_groups_that_answer_alike_do_not_differ() -> None:
    found = pairwise_tests.verdict(group("gru", [1], [2], [3]), group("lstm", [1], [2], [3]))
    assert ((0, 0), (0, 0)) == (found.over_seeds, found.over_images)
    assert "no difference shown with 3 seeds, which are right equally often on every image" == found.words


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed is too few"), (2, "2 seeds are too few")])
def test_fewer_than_three_seeds_tell_nothing_but_how_many_it_takes(seeds: int, said: str) -> None:
    # All right against all wrong: no difference is larger.
    found = pairwise_tests.verdict(group("gru", *[NONE] * seeds), group("lstm", *[range(10)] * seeds))
    assert found.over_seeds is None
    assert not found.shown
    assert f"{said} to tell: it takes at least 3, better 5" == found.words


def spread(cell: str, mean: int, *, by: int = 1) -> Group:
    """Return a group whose three seeds get about ``mean`` of a thousand images wrong."""
    return group(cell, range(mean - by), range(mean), range(mean + by), labels=MANY)


def test_a_pair_among_several_must_show_more_than_alone() -> None:
    # Differences of 19, 28 and 37 images: t = 28 / (9 / √3) = 5.39 with 2 degrees of freedom.
    pair = [spread("gru", 20, by=0), spread("lstm", 48, by=9)]
    expected = 2 * stats.t.sf(28 / (9 / math.sqrt(3)), 2)
    assert 0.05 / 3 < expected < 0.05
    (alone,) = pairwise_tests.verdicts(pair)
    assert expected == pytest.approx(alone.p_value)
    assert alone.shown
    several = pairwise_tests.verdicts([*pair, spread("rnn", 30, by=20)])
    assert [False] * 3 == [each.shown for each in several]
    assert 3 * expected == pytest.approx(min(each.p_value or 0 for each in several))


def test_pairs_stand_at_holms_levels() -> None:
    groups = [spread("rnn", 300), spread("lstm", 100), spread("gru", 102, by=30)]
    found = {frozenset((each.first, each.second)): each for each in pairwise_tests.verdicts(groups)}
    levels = {pair: each.level for pair, each in found.items()}
    # The two pairs with the rnn pass, the clearer one first; the last pair then stands alone.
    assert 0.05 / 3 == levels[frozenset(("rnn", "lstm"))]
    assert 0.05 / 2 == levels[frozenset(("rnn", "gru"))]
    assert 0.05 == levels[frozenset(("lstm", "gru"))]
    assert {frozenset(("lstm", "gru"))} == {pair for pair, each in found.items() if not each.shown}


def test_only_common_seeds_are_compared() -> None:
    ours, theirs = group("gru", [0], [0], [0]), group("lstm", [1], [1], first_seed=3)
    found = pairwise_tests.verdict(ours, theirs)
    assert (3,) == found.seeds
    assert 0 == found.difference


def test_without_common_seeds_there_is_no_verdict() -> None:
    found = pairwise_tests.verdict(group("gru", [0]), group("lstm", [1], first_seed=2))
    assert found.difference is None
    assert "no common seeds: they cannot be compared" == found.words


def test_pairs_begin_with_the_recommended_group() -> None:
    pairs = [(each.first, each.second) for each in pairwise_tests.verdicts(three_groups())]
    assert [("gru", "lstm"), ("gru", "rnn"), ("lstm", "rnn")] == pairs


def test_one_group_has_no_pairs() -> None:
    assert [] == pairwise_tests.verdicts([group("gru", NONE)])


def test_the_memory_of_many_pairs_is_that_of_a_few() -> None:
    """A pair's bootstrap over 1,000 images and three seeds takes two arrays of 6,001 numbers."""
    groups = [
        replace(group(f"cell{number}", range(number), range(number + 5), (), labels=range(1_000)), cell="gru")
        for number in range(30)
    ]
    tracemalloc.start()
    assert 435 == len(pairwise_tests.verdicts(groups))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 435 * 2 * 6_001 * 8 / 4
