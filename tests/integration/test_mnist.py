"""A few epochs on real MNIST reach the results of the tutorial."""

import json

import mlflow
import pytest

from tests.integration.conftest import Command, run_id_in

TUTORIAL_COST = 0.525  # of BasicRNNCell after the first epoch; the script printed three digits
ACCURATE_FLOOR = 0.9732  # on the validation images after two epochs; the tutorial published it after thirty


def test_the_first_epoch_on_the_files_of_the_package_costs_no_more_than_the_tutorials(command: Command) -> None:
    run = mlflow.get_run(run_id_in(command("run", "--cell", "rnn", "--epochs", 1).output))

    assert run.data.metrics["cost"] <= 1.05 * TUTORIAL_COST
    assert ("mnist", "28", "mirrors") == tuple(run.data.params[name] for name in ("dataset", "steps", "source"))
    assert run.inputs is not None
    sources = [(entry.dataset.source_type, json.loads(entry.dataset.source)) for entry in run.inputs.dataset_inputs]
    assert [("code", {"tags": {"source": "the pipeline package"}})] * 2 == sources


@pytest.mark.slow
def test_two_epochs_of_the_accurate_recipe_reach_a_floor(mnist_champion: str) -> None:
    run = mlflow.get_run(mnist_champion)
    assert ("gru", "elastic") == (run.data.params["cell"], run.data.params["augmentation"])
    assert run.data.metrics["best_val_accuracy"] > ACCURATE_FLOOR
