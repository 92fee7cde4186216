"""What runs are called."""

from pipeline.execution.grid import grid
from pipeline.settings import Settings
from pipeline.training import naming


def test_a_training_by_default_is_its_cell_and_seed() -> None:
    assert "gru-s1" == naming.training(Settings.of({"cell": "gru"}), "mnist")


def test_a_training_is_named_by_its_data_and_its_recipe_where_they_are_not_the_defaults() -> None:
    settings = Settings.of({"cell": "lstm", "recipe": "accurate", "seed": 3})
    assert "lstm-custom-1a2b3c4d-accurate-s3" == naming.training(settings, "custom-1a2b3c4d")


def test_a_training_is_named_by_what_tells_it_apart_within_its_cell() -> None:
    of_a_recipe = grid({"cells": "rnn,gru", "seeds": "1", "recipe": "accurate"})  # each cell has a rate of its own
    assert ["rnn-accurate-s1", "gru-accurate-s1"] == naming.trainings(of_a_recipe, "mnist")
    sizes = grid({"cells": "gru", "seeds": "1", "hidden_units": "64,128"})
    assert ["gru-hidden_units=64-s1", "gru-hidden_units=128-s1"] == naming.trainings(sizes, "mnist")
    recipes = grid({"cells": "gru", "seeds": "1,2", "recipe": "tutorial,accurate", "layers": "1,2"})
    assert "gru-digits-accurate-layers=2-s1" == naming.trainings(recipes, "digits")[3]


def test_a_comparison_is_named_by_its_cells() -> None:
    assert "compare-rnn-gru" == naming.comparison(grid({"cells": "rnn,gru"}), "mnist")
    assert "compare-gru-digits-quick" == naming.comparison(grid({"cells": "gru", "recipe": "quick"}), "digits")


def test_a_group_is_named_by_its_trainings_without_the_seed() -> None:
    assert "gru-digits" == naming.group("gru-digits-s12")
