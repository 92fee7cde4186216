"""Real MNIST: the results of the tutorial, and the answers of a model to pictures."""

import json
import runpy
from pathlib import Path

import mlflow

from pipeline.tracking import models
from tests.integration.conftest import PROJECT, Command, run_id_in

TUTORIAL_COST = 0.525  # of BasicRNNCell after the first epoch; the script printed three digits
TUTORIAL_ACCURACY = 0.9732  # of BasicRNNCell after thirty epochs
PICTURES = runpy.run_path(str(PROJECT / "benchmarks" / "pictures.py"))
SAMPLES = {"7.png": "7", "blackboard/2.png": "2", "photo-of-a-3.jpg": "3"}


def test_the_first_epoch_on_the_files_of_the_package_costs_no_more_than_the_tutorials(command: Command) -> None:
    run = mlflow.get_run(run_id_in(command("run", "--cell", "rnn", "--epochs", 1).output))

    assert run.data.metrics["cost"] <= 1.05 * TUTORIAL_COST
    assert ("mnist", "28", "mirrors") == tuple(run.data.params[name] for name in ("dataset", "steps", "source"))
    assert run.inputs is not None
    sources = [(entry.dataset.source_type, json.loads(entry.dataset.source)) for entry in run.inputs.dataset_inputs]
    assert [("code", {"tags": {"source": "the pipeline package"}})] * 2 == sources


def test_one_epoch_of_the_quick_recipe_is_as_accurate_as_the_tutorial(mnist_champion: str) -> None:
    assert mlflow.get_run(mnist_champion).data.metrics["best_val_accuracy"] > TUTORIAL_ACCURACY


def test_the_samples_are_answered_rightly(command: Command, mnist_champion: str) -> None:
    said = command("predict", PROJECT / "samples", "--model", "models:/mnist@champion", "--json").stdout

    answers = {Path(row["file"]).relative_to(PROJECT / "samples").as_posix(): row["label"] for row in json.loads(said)}
    assert SAMPLES == answers


def test_pictures_of_every_kind_are_answered_about_as_well_as_the_images_they_are_made_of(mnist_champion: str) -> None:
    images, labels = (array[:10] for array in PICTURES["test_images"]())
    classifier = models.load("models:/mnist@champion")
    own = float((classifier.probabilities(images).argmax(axis=1) == labels).mean())

    right = {kind: PICTURES["right"](kind, images, labels, classifier) for kind in PICTURES["KINDS"]}

    assert {} == {kind: share for kind, share in right.items() if share < own - 0.35}  # three of 10
