"""Names of runs, groups and models."""

import pytest

from pipeline import recipes
from pipeline.execution.grid import grid
from pipeline.settings import Settings
from pipeline.training import naming


@pytest.mark.parametrize(
    ("given", "dataset", "name"),
    [
        ({}, "mnist", "gru-s1"),
        ({"cell": "lstm", "recipe": "accurate", "seed": 3}, "custom-1a2b3c4d", "lstm-custom-1a2b3c4d-accurate-s3"),
        ({"learning_rate": 0.01}, "mnist", "gru-lr=0.01-s1"),
        (
            {"learning_rate": 1e-5, "epochs": 3, "hidden_units": 64},
            "digits",
            "gru-digits-units=64-lr=1e-05-epochs=3-s1",
        ),
        ({"recipe": "deep", "layers": 2, "direction": "forward"}, "mnist", "gru-deep-direction=forward-s1"),
        ({"cell": "rnn", "recipe": "accurate", "schedule": "constant"}, "mnist", "rnn-accurate-schedule=constant-s1"),
        ({"cell": "my_cells:MGU", "batch_size": 64}, "mnist", "my_cells:MGU-batch=64-s1"),
        ({"data_dir": "elsewhere", "shards": 1}, "mnist", "gru-s1"),
    ],
)
def test_a_run_is_named_by_all_that_is_not_as_in_its_recipe(given: dict[str, object], dataset: str, name: str) -> None:
    assert name == naming.training(recipes.resolve(given), dataset)


def test_no_two_runs_of_a_grid_have_the_same_name() -> None:
    several = {"cells": "rnn,gru", "seeds": "1,2", "recipe": "tutorial,accurate", "layers": "1,2", "shards": "1,2"}
    names = naming.trainings(grid(several), "digits")
    assert 32 == len(set(names))
    assert "gru-digits-accurate-layers=2-shards=2-s1" in names


def test_a_comparison_is_named_by_its_cells() -> None:
    assert "compare-rnn-gru" == naming.comparison(grid({"cells": "rnn,gru"}), "mnist")
    assert "compare-gru-digits-quick" == naming.comparison(grid({"cells": "gru", "recipe": "quick"}), "digits")


def test_a_group_is_named_by_its_runs_without_the_seed() -> None:
    assert "gru-digits" == naming.group("gru-digits-s12")
    assert "gru-lr=0.01" == naming.group(naming.training(Settings.of({"learning_rate": 0.01}), "mnist"))
