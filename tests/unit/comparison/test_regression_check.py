"""A comparison against what is there already."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.comparison import regression_check
from pipeline.comparison.grouping import Group, Result
from pipeline.comparison.regression_check import Standing


def group(cell: str, *right: list[bool]) -> Group:
    """Return a group with a training per list, which is right on the images that the list says."""
    results = [
        Result(
            run_id=f"{cell}{seed}",
            name=cell,
            cell=cell,
            seed=seed,
            params={},
            metrics={},
            history=pd.DataFrame(),
            labels=np.ones(len(each), np.int64),
            predicted=np.array(each, np.int64),
        )
        for seed, each in enumerate(right)
    ]
    return Group(label=cell, cell=cell, results=tuple(results))


def test_the_difference_is_that_of_the_means_whatever_the_seeds_on_either_side() -> None:
    ours = group("gru", [True, True, False, True], [True, False, False, True])  # 3/4, 2/4
    theirs = group("rnn", [True, False, False, False])  # 1/4
    judgement = regression_check.judge(ours, theirs, "models:/m@champion")
    assert 5 / 8 - 1 / 4 == judgement.difference


@pytest.mark.parametrize(
    ("gained", "lost", "standing"),
    [(30, 4, Standing.BETTER), (4, 30, Standing.WORSE), (10, 9, Standing.EQUAL), (0, 0, Standing.EQUAL)],
)
def test_it_is_better_or_worse_where_the_interval_does_not_cover_zero(
    gained: int, lost: int, standing: Standing
) -> None:
    ours = group("gru", [True] * gained + [False] * lost + [True] * 900)
    theirs = group("rnn", [False] * gained + [True] * lost + [True] * 900)
    judgement = regression_check.judge(ours, theirs, "before")
    votes = np.repeat([1, -1, 0], [gained, lost, 900])
    scipys = stats.bootstrap((votes,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert standing == judgement.standing
    assert judgement.interval == pytest.approx((scipys.low, scipys.high), abs=0.001)


def test_it_is_said_in_points() -> None:
    ours, theirs = group("gru", [True] * 1_000), group("rnn", [True] * 950 + [False] * 50)
    sentence = regression_check.judge(ours, theirs, "models:/m@champion").sentence
    assert sentence.startswith("gru is better than models:/m@champion: +5.00 points (+3.")
