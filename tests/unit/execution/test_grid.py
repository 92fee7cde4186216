"""The runs of a comparison, from lists of values."""

import pytest

from pipeline.errors import UsageError
from pipeline.execution import grid as grids
from pipeline.execution.grid import grid


def test_a_comparison_is_the_product_of_its_lists() -> None:
    settings = grid({"cells": "rnn, gru", "seeds": "1,2", "learning_rate": "1e-3,0.01", "epochs": 5})

    assert 8 == len(settings)
    assert {(cell, seed, rate) for cell in ("rnn", "gru") for seed in (1, 2) for rate in (0.001, 0.01)} == {
        (each.cell, each.seed, each.learning_rate) for each in settings
    }
    assert {5} == {each.epochs for each in settings}


def test_by_default_a_comparison_has_three_cells_and_three_seeds() -> None:
    assert [(cell, seed) for cell in ("rnn", "lstm", "gru") for seed in (1, 2, 3)] == [
        (each.cell, each.seed) for each in grid({})
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": ""}, "cells: has an empty value; got ''"),
        (
            {"cells": "rnn,,gru"},
            "cells: has an empty value; got 'rnn,,gru'. Write values separated by single commas, such",
        ),
        (
            {"cells": "rnn,transformer"},
            "cell: must be 'rnn', 'lstm', 'gru' or 'mgu', or MODULE:CLASS .*; got 'transformer'",
        ),
        ({"seeds": "1,2.5"}, "seed: must be a whole number"),
        ({"seeds": "1,two"}, "seed: must be a whole number"),
        ({"seeds": "1,1"}, "seeds: must name each value once; got '1,1'"),
        ({"seeds": "1,01"}, "seeds: must name each value once; got '1,01'"),
        ({"seeds": "1-3,2"}, "seeds: must name each value once; got '1-3,2'"),
        ({"learning_rate": "1e-3,0.001"}, "learning_rate: must name each value once"),
        ({"seeds": "5-1"}, "seeds: a range must go from low to high, such as 1-5; got '5-1'"),
        ({"seeds": "1-"}, "seed: must be a whole number"),
        ({"dataset": "mnist,digits"}, "dataset: must be one of mnist"),
        ({"hidden_units": "0"}, "hidden_units: must be at least 1"),
        ({"cell": "gru"}, "cell: must be given as cells; got cell='gru'"),
        ({"seed": 5, "cells": "gru"}, "seed: must be given as seeds; got seed=5"),
    ],
)
def test_a_wrong_list_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grid(given)


@pytest.mark.parametrize(
    ("seeds", "count"),
    [
        (",".join(map(str, range(grids.MOST + 1))), "1,001"),
        ("1-600,601-1200", "1,200"),
        ("1-1000000000000", "1,000,000,000,000"),  # before they are listed
    ],
)
def test_too_many_runs_are_refused(seeds: str, count: str) -> None:
    with pytest.raises(UsageError, match=f"must have at most 1,000 runs; got {count}"):
        grid({"cells": "gru", "seeds": seeds})


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("layers", "1-2", [1, 2]),
        ("dropout", "0,0.2", [0.0, 0.2]),
        ("direction", "forward,bidirectional", ["forward", "bidirectional"]),
        ("recipe", "tutorial,accurate", ["tutorial", "accurate"]),
        ("epochs", "1,4-6", [1, 4, 5, 6]),
    ],
)
def test_any_parameter_of_a_run_takes_several_values(option: str, text: str, expected: list[object]) -> None:
    settings = grid({"cells": "gru", "seeds": "1", option: text})
    assert expected == [getattr(each, option) for each in settings]


def test_runs_that_are_the_same_on_the_data_are_refused() -> None:
    twins = [{"cell": "gru", "seed": 1, "steps": 28, "recipe": recipe} for recipe in ("tutorial", "quick")]
    with pytest.raises(UsageError, match="must differ; got 2, but only 1 differ"):
        grids.shared(twins)
