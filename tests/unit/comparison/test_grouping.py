import math
from collections.abc import Sequence

import pytest

from pipeline.cells import Cell
from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group, Spread
from tests.unit.result_fixtures import result

NONE: Sequence[int] = ()


def labels(*groups: Group) -> list[str]:
    return [group.label for group in groups]


# --- groups ---------------------------------------------------------------------------------------------------------


def test_trainings_that_differ_by_their_seed_are_one_group_ordered_by_it() -> None:
    groups = grouping.grouped([result(seed=10), result(seed=2), result(seed=1)])
    assert [("gru", (1, 2, 10))] == [(group.label, group.seeds) for group in groups]


def test_where_data_was_kept_and_what_it_was_called_parts_no_group() -> None:
    elsewhere = {"data_dir": "/elsewhere", "source": "/mnist", "dataset": "mnist"}
    assert 1 == len(grouping.grouped([result(seed=1), result(seed=2, params=elsewhere)]))


def test_options_that_mlflow_run_logs_part_no_group() -> None:
    options = {"register": "mnist-gru", "config": "mine.yaml", "new": "true", "quiet": "true"}
    assert 1 == len(grouping.grouped([result(seed=1), result(seed=2, params=options)]))


def test_another_file_of_a_cell_is_another_configuration() -> None:
    files = [result("my_cells:MGU", seed, tags={"cell_file": digest * 8}) for seed, digest in enumerate(("a1", "b2"))]
    same = [result("my_cells:MGU", seed, tags={"cell_file": "c3" * 8}) for seed in (1, 2)]
    assert {"my_cells:MGU, cell_file a1a1a1a1", "my_cells:MGU, cell_file b2b2b2b2"} == set(
        labels(*grouping.grouped(files))
    )
    assert ["my_cells:MGU"] == labels(*grouping.grouped(same))
    huge = [
        result("my_cells:MGU", seed, tags={"cell_file": digest}) for seed, digest in enumerate(("1e999999", "2e888888"))
    ]
    assert 2 == len(grouping.grouped(huge))  # both infinite, were they numbers


def test_a_label_is_the_cell_where_only_cells_differ() -> None:
    groups = grouping.grouped([result("gru"), result("rnn"), result("lstm")])
    assert ["rnn", "lstm", "gru"] == labels(*groups)


def test_cells_of_a_users_own_come_last_by_name() -> None:
    groups = grouping.grouped([result("mine"), result("gru"), result("another"), result("rnn")])
    assert ["rnn", "gru", "another", "mine"] == labels(*groups)


def test_a_label_names_only_the_params_that_differ_and_sorts_them_as_numbers() -> None:
    groups = grouping.grouped([result(params={"hidden_units": units, "layers": "1"}) for units in ("128", "64")])
    assert ["gru, hidden_units 64", "gru, hidden_units 128"] == labels(*groups)


def test_what_differs_between_cells_alone_is_in_no_label() -> None:
    rates: dict[Cell, str] = {"rnn": "0.001", "gru": "0.004"}
    groups = grouping.grouped([result(cell, params={"learning_rate": rate}) for cell, rate in rates.items()])
    assert ["rnn", "gru"] == labels(*groups)


def test_a_recipe_stands_for_its_values_in_a_label() -> None:
    values = {"tutorial": "0.001", "accurate": "0.004"}
    groups = grouping.grouped(
        [result(params={"recipe": recipe, "learning_rate": rate}) for recipe, rate in values.items()]
    )
    assert {"gru, recipe tutorial", "gru, recipe accurate"} == set(labels(*groups))


def test_the_name_of_a_recipe_parts_no_group_of_the_same_values() -> None:
    same = [result(seed=1, params={"recipe": "tutorial"}), result(seed=2, params={"recipe": "accurate"})]
    assert ["gru"] == labels(*grouping.grouped(same))


@pytest.mark.parametrize("typed", ["1e-3", "'0.001'", "0.0010"])
def test_a_value_is_the_same_however_it_was_typed(typed: str) -> None:
    same = [result(seed=1, params={"learning_rate": "0.001"}), result(seed=2, params={"learning_rate": typed})]
    assert ["gru"] == labels(*grouping.grouped(same))


def test_of_twins_the_one_that_ended_last_counts() -> None:
    (only,) = grouping.grouped([result(finished=2), result(finished=3), result(finished=1)])
    assert ["gru13"] == [each.run_id for each in only.results]


def test_the_recommended_group_is_the_best_by_validation_whatever_the_test_says() -> None:
    groups = grouping.grouped(
        [result("rnn", wrong=[0, 1, 2], val_accuracy=0.96), result("gru", wrong=NONE, val_accuracy=0.95)]
    )
    assert "rnn" == grouping.best_by_validation(groups).label


# --- means ----------------------------------------------------------------------------------------------------------


def test_a_spread_is_mean_and_sample_standard_deviation() -> None:
    # By hand: mean 3, squared deviations 4 + 1 + 9, over n − 1 = 2.
    assert (3, math.sqrt(7)) == Spread.of([1, 2, 6])


def test_a_spread_of_one_seed_has_no_deviation() -> None:
    assert (0.98, None) == Spread.of([0.98])
    assert "98.00" == Spread.of([0.98]).text(2, scale=100)


def test_a_spread_is_written_as_mean_plus_minus_deviation() -> None:
    assert "98.50 ± 0.71" == Spread.of([0.98, 0.99]).text(2, scale=100)


def test_seconds_per_epoch_are_the_median_over_all_epochs_of_all_seeds() -> None:
    (only,) = grouping.grouped([result(seed=1, seconds=4, epochs=2), result(seed=2, seconds=20, epochs=2)])
    # Epochs of 2, 2, 10 and 10 seconds.
    assert 6 == only.epoch_seconds
