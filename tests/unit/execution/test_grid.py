"""What a comparison trains, from the lists that it is given."""

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


def test_a_comparison_is_of_all_cells_and_three_seeds_unless_told() -> None:
    assert [(cell, seed) for cell in ("rnn", "lstm", "gru") for seed in (1, 2, 3)] == [
        (each.cell, each.seed) for each in grid({})
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": ""}, "cells: expected values separated by commas"),
        ({"cells": "rnn,,gru"}, "cells: expected values separated by commas"),
        (
            {"cells": "rnn,transformer"},
            "cell: must be 'rnn', 'lstm', 'gru' or 'mgu', or be MODULE:CLASS .*; got 'transformer'",
        ),
        ({"seeds": "1,2.5"}, "seed: must be a whole number"),
        ({"seeds": "1,two"}, "seed: must be a whole number"),
        ({"seeds": "1,1"}, "seeds: expected each value once, received '1,1'"),
        ({"seeds": "1,01"}, "seeds: expected each value once, received '1,01'"),
        ({"seeds": "1-3,2"}, "seeds: expected each value once, received '1-3,2'"),
        ({"learning_rate": "1e-3,0.001"}, "learning_rate: expected each value once"),
        ({"seeds": "5-1"}, "seeds: expected an ascending range, such as 1-5, received '5-1'"),
        ({"seeds": "1-"}, "seed: must be a whole number"),
        ({"dataset": "mnist,digits"}, "dataset: must be one of mnist"),
        ({"hidden_units": "0"}, "hidden_units: must be at least 1"),
        ({"cell": "gru"}, "cell: expected cells, received cell='gru'"),
        ({"seed": 5, "cells": "gru"}, "seed: expected seeds, received seed=5"),
    ],
)
def test_a_wrong_list_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grid(given)


def test_too_many_trainings_are_refused_before_anything_else() -> None:
    seeds = ",".join(map(str, range(grids.MOST + 1)))
    with pytest.raises(UsageError, match="at most 1,000 runs in one comparison, received 1,001"):
        grid({"cells": "gru", "seeds": seeds})


@pytest.mark.parametrize("seeds", ["1-1000000000000", "1-600,601-1200"])
def test_a_range_of_too_many_is_refused_before_it_is_counted_out(seeds: str) -> None:
    with pytest.raises(UsageError, match="at most 1,000 runs in one comparison"):
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
def test_any_parameter_of_a_training_takes_several_values(option: str, text: str, expected: list[object]) -> None:
    settings = grid({"cells": "gru", "seeds": "1", option: text})
    assert expected == [getattr(each, option) for each in settings]


def test_trainings_that_are_the_same_on_the_data_are_refused() -> None:
    twins = [{"cell": "gru", "seed": 1, "steps": 28, "recipe": recipe} for recipe in ("tutorial", "quick")]
    with pytest.raises(UsageError, match="Expected different runs, received 2 of which only 1 differ"):
        grids.shared(twins)


def test_the_parameters_of_a_comparison_are_what_its_trainings_share_and_all_values_of_the_rest() -> None:
    every = [{"cell": "gru", "seed": seed, "epochs": 5, "learning_rate": rate} for seed, rate in ((1, 0.1), (2, 0.1))]

    expected = {"cells": "gru", "seeds": "1,2", "epochs": "5", "learning_rate": "0.1"}
    assert expected == grids.shared(every)
