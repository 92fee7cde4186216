"""Which trials go on, counted by hand."""

import pytest

from pipeline.tuning import halving


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, []), (2, [1]), (3, [1]), (9, [1, 3]), (10, [2, 4]), (20, [3, 7]), (30, [4, 10])]
)
def test_trials_may_be_ended_after_a_ninth_and_a_third_of_their_epochs(epochs: int, rungs: list[int]) -> None:
    assert rungs == halving.rungs(epochs)


def test_the_first_goes_on_and_of_those_after_it_the_better_third() -> None:
    others = [{1: 0.9}, {1: 0.8}, {1: 0.7}, {1: 0.6}, {1: 0.5}]
    assert halving.goes_on({1: 0.1}, [], 9)
    assert halving.goes_on({1: 0.85}, others, 9)  # one ahead, and of six two go on
    assert not halving.goes_on({1: 0.75}, others, 9)


def test_between_the_rungs_nothing_is_ended() -> None:
    assert halving.goes_on({1: 0.9, 2: 0.1}, [{1: 0.9, 2: 0.9}] * 8, 9)


def test_what_counts_is_the_best_so_far_and_only_of_those_that_came_as_far() -> None:
    own = {1: 0.9, 2: 0.5, 3: 0.6}
    assert halving.goes_on(own, [{1: 0.95, 2: 0.99}], 9)  # it has not come as far
    assert halving.goes_on(own, [{1: 0.1, 2: 0.1, 3: 0.89}], 9)
    assert not halving.goes_on(own, [{1: 0.1, 2: 0.1, 3: 0.91}], 9)
