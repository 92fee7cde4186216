"""A comparison against an existing model."""

import numpy as np
import pytest

from pipeline.comparison import pairwise_tests, regression_check
from tests.unit.result_fixtures import group

RANDOM = np.random.default_rng(5)
SOME = [RANDOM.choice(1_000, 100, replace=False).tolist() for _ in range(4)]
MANY = [RANDOM.choice(1_000, 400, replace=False).tolist() for _ in range(4)]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (SOME[:3], MANY[3:], "gru against models:/m@champion: better, +30.00 points (95 % interval +2"),
        (MANY[:3], SOME[3:], "gru against models:/m@champion: worse, −30.00 points (95 % interval −3"),
        (SOME[:3], SOME[3:], "gru against models:/m@champion: no significant difference, 0.00 points"),
        (MANY[:2], SOME[3:], "undecided (−30.00 points). Train at least 3 seeds to decide."),
    ],
)
def test_it_is_better_or_worse_only_where_that_is_significant(
    ours: list[list[int]], theirs: list[list[int]], said: str
) -> None:
    test = pairwise_tests.between(group("gru", *ours), group("rnn", *theirs, first_seed=9), borrow=True)
    standing, sentence = regression_check.result(test, "models:/m@champion")
    assert said in sentence
    assert standing in said
