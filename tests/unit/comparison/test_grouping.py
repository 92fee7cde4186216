import pytest

from pipeline.cells import Cell
from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group
from tests.unit.result_fixtures import result


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


def test_another_file_of_a_custom_cell_is_another_configuration() -> None:
    """Digests that are numbers, both infinite if they were taken for such."""
    files = [result("my_cells:MGU", params={"cell_file": f"sha256:{digest}"}) for digest in ("1e999999", "2e888888")]
    assert {"my_cells:MGU, cell_file sha256:1e999999", "my_cells:MGU, cell_file sha256:2e888888"} == set(
        labels(*grouping.grouped(files))
    )


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


def test_means_are_written_with_sample_standard_deviations() -> None:
    (two,) = grouping.grouped([result(seed=seed, wrong=range(seed), seconds=seed) for seed in (1, 2)])
    # By hand: accuracies of 90 and 80 %, √(2 × 5² / 1) = 7.07; 1 and 2 s.
    assert ("85.00 ± 7.07", "1.50 ± 0.71", "0.5000 ± 0.0000") == tuple(
        map(two.text, ("test_accuracy", "train_seconds", "test_cost"))
    )
    (one,) = grouping.grouped([result(seconds=120)])
    assert ("100.00", "120.0") == (one.text("test_accuracy"), one.text("train_seconds"))


def test_histories_go_as_far_as_all_seeds() -> None:
    runs = [result(seed=seed, epochs=epochs, params={"epochs": ""}) for seed, epochs in ((1, 3), (3, 2))]
    (only,) = grouping.grouped(runs)
    # Costs 1/1, 1/2 and 1/3 with seed 1, 3/1 and 3/2 with seed 3.
    assert {1: {1: 1, 3: 3}, 2: {1: 0.5, 3: 1.5}} == only.history("cost").to_dict("index")


def test_seconds_per_epoch_are_the_median_over_all_epochs_of_all_seeds() -> None:
    (only,) = grouping.grouped([result(seed=1, seconds=4, epochs=2), result(seed=2, seconds=20, epochs=2)])
    assert 6 == only.epoch_seconds  # epochs of 2, 2, 10 and 10 seconds
