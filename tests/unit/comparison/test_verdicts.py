import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from pipeline.comparison import verdicts
from pipeline.comparison.verdicts import Interval, Verdict
from tests.unit.result_fixtures import group, three_groups

NONE: Sequence[int] = ()


# --- intervals ------------------------------------------------------------------------------------------------------


def test_the_interval_over_seeds_is_scipys_paired_t_interval() -> None:
    ours, theirs = np.array([0.981, 0.985, 0.983, 0.99]), np.array([0.97, 0.981, 0.984, 0.977])
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert verdicts.t_interval(ours - theirs) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_interval_over_images_is_scipys_bootstrap() -> None:
    generator = np.random.default_rng(7)
    differences = generator.choice([-1, -1 / 3, 0, 1 / 3, 1], size=2_000, p=[0.01, 0.02, 0.9, 0.05, 0.02])
    scipys = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", batch=500, rng=np.random.default_rng(1)
    ).confidence_interval
    standard_error = differences.std() / math.sqrt(len(differences))
    found = verdicts.bootstrap_interval(differences)
    # Ends of 10,000 resamples scatter by 0.027 standard errors; both do.
    assert found == pytest.approx((scipys.low, scipys.high), abs=0.15 * standard_error)


def test_the_interval_over_images_repeats_exactly() -> None:
    differences = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], size=100)
    assert verdicts.bootstrap_interval(differences) == verdicts.bootstrap_interval(differences)


def test_the_interval_of_images_that_all_agree_is_a_point() -> None:
    assert (0, 0) == verdicts.bootstrap_interval(np.zeros(50))


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
    found = verdicts.verdict(ours, theirs)
    expected = stats.ttest_rel([0.990, 0.988, 0.989], [0.9, 0.895, 0.897]).confidence_interval(0.95)
    assert found.over_seeds == pytest.approx((expected.low, expected.high))
    # By hand: 9.0, 9.3 and 9.2 points; of 1,000 images some 92 differ: ± 1.96 √(0.092 × 0.908 / 1,000) = ± 1.79.
    assert found.difference == pytest.approx(0.0916667, rel=1e-5)
    assert found.half_width == pytest.approx(0.0179, rel=0.05)
    assert f"gru better than lstm by 9.17 ± {100 * found.half_width:.2f} points" == found.words


def test_the_better_one_is_named_first_also_when_it_comes_second() -> None:
    worse = group("gru", first(100), first(105), first(103), labels=MANY)
    better = group("lstm", first(10), first(12), first(11), labels=MANY)
    assert verdicts.verdict(worse, better).words.startswith("lstm better than gru by 9.17 ± ")


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
    assert "no difference shown with 2 seeds" == verdicts.verdict(ours, theirs).words


def test_groups_that_answer_alike_do_not_differ() -> None:
    found = verdicts.verdict(group("gru", [1], [2]), group("lstm", [1], [2]))
    assert ((0, 0), (0, 0)) == (found.over_seeds, found.over_images)
    assert "no difference shown with 2 seeds" == found.words


def test_one_seed_can_show_no_difference() -> None:
    found = verdicts.verdict(group("gru", NONE), group("lstm", [0, 1, 2, 3, 4, 5]))
    assert found.over_seeds is None
    assert "one seed: no difference can be shown" == found.words


def test_only_common_seeds_are_compared() -> None:
    ours, theirs = group("gru", [0], [0], [0]), group("lstm", [1], [1], first_seed=3)
    found = verdicts.verdict(ours, theirs)
    assert (3,) == found.seeds
    assert 0 == found.difference


def test_without_common_seeds_there_is_no_verdict() -> None:
    found = verdicts.verdict(group("gru", [0]), group("lstm", [1], first_seed=2))
    assert found.difference is None
    assert "no common seeds: they cannot be compared" == found.words


def test_pairs_begin_with_the_recommended_group() -> None:
    pairs = [(each.first, each.second) for each in verdicts.verdicts(three_groups())]
    assert [("gru", "lstm"), ("gru", "rnn"), ("lstm", "rnn")] == pairs


def test_one_group_has_no_pairs() -> None:
    assert [] == verdicts.verdicts([group("gru", NONE)])
