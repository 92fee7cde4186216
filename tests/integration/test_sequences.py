"""Sequences of the user: gestures of unequal lengths in a table, through all commands that train."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.datasets import load_digits

from pipeline import load
from pipeline.tracking import models, store
from tests.integration.conftest import PROJECT, Command, run_id_in

ARCHIVE = PROJECT.parent / "shared" / "sequences"
SMALL = ("--hidden-units", 16, "--epochs", 8, "--shards", 2)
CLASSES = ["falls", "rests", "rises"]


@pytest.fixture(scope="module")
def trained(command: Command, gestures: Path) -> tuple[Run, str]:
    output = command("run", "--source", gestures, "--cell", "gru", *SMALL, "--register", "gestures").output
    return mlflow.get_run(run_id_in(output)), output


def test_a_table_of_steps_is_trained_with_the_recipe_for_sequences(trained: tuple[Run, str]) -> None:
    run, output = trained
    assert "(18 of 90)" in output
    assert run.data.metrics["test_accuracy"] > 0.9
    parameters = {"recipe": "sequences", "batch_size": "16", "epochs": "8", "steps": "20", "schedule": "cosine"}
    assert parameters.items() <= run.data.params.items()
    assert run.data.params["dataset"].startswith("gestures-")
    names = {
        "accuracy_by_step.png",
        "confusion_matrix.png",
        "misclassified.png",
        "per_class.csv",
        "predictions.parquet",
    }
    listed = MlflowClient().list_artifacts(run.info.run_id, "evaluation")
    assert names == {Path(each.path).name for each in listed}


def test_answers_are_listed_by_id_and_the_data_is_described(trained: tuple[Run, str], gestures: Path) -> None:
    run, _ = trained
    answers = store.load_table(run.info.run_id, "evaluation/predictions.parquet")
    labels = pd.read_parquet(gestures).groupby("id")["label"].first()
    assert [labels[each] for each in answers["id"]] == [
        ["falls", "rests", "rises"][label] for label in answers["label"]
    ]
    assert run.inputs is not None
    profiles = [json.loads(each.dataset.profile or "") for each in run.inputs.dataset_inputs]
    assert [["x", "y"]] * 2 == [each["features"] for each in profiles]
    assert [CLASSES] * 2 == [each["classes"] for each in profiles]


def test_the_same_command_reuses_the_data_and_the_run(
    command: Command, gestures: Path, trained: tuple[Run, str]
) -> None:
    output = command("run", "--source", gestures, "--cell", "gru", *SMALL).output
    assert "Skipped download" in output
    assert "Skipped preprocess" in output
    assert trained[0].info.run_id == run_id_in(output)


def test_the_served_model_is_stock_keras_and_answers_each_sequence_as_if_it_were_alone(
    trained: tuple[Run, str], tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    padded = np.full((4, 9, 2), np.nan, np.float32)
    for row, length in enumerate((9, 3, 1, 6)):
        padded[row, :length] = random.normal(size=(length, 2))

    answers = load("models:/gestures@champion").probabilities(padded)

    uri = models.of(store.get_run(trained[0].info.run_id)).model_uri
    stock = keras.saving.load_model(
        Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)), "artifacts/model.keras")
    )
    np.testing.assert_allclose(answers, stock(padded), atol=1e-5)
    for row, length in enumerate((9, 3, 1, 6)):
        np.testing.assert_allclose(answers[row], stock(padded[row : row + 1, :length])[0], atol=1e-5)


def test_a_killed_run_is_resumed_to_the_same_numbers(
    command: Command, gestures: Path, trained: tuple[Run, str], store: Path
) -> None:
    arguments = ["run", "--source", gestures, "--cell", "gru", *SMALL, "--new"]
    command_line = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True, env=os.environ, cwd=store) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 2/8") for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    interrupted = mlflow.search_runs(filter_string="status = 'RUNNING'", output_format="list")[0].info.run_id
    command("run", "--resume", interrupted)
    for metric in ("cost", "val_cost", "val_accuracy"):
        first, second = (
            [entry.value for entry in MlflowClient().get_metric_history(run_id, metric)]
            for run_id in (trained[0].info.run_id, interrupted)
        )
        assert first == second
    assert trained[0].data.metrics["test_cost"] == mlflow.get_run(interrupted).data.metrics["test_cost"]


def test_cells_are_compared_also_custom_ones_against_the_champion(
    command: Command, gestures: Path, trained: tuple[Run, str]
) -> None:
    options = (
        "--cells",
        "gru,keras.layers:SimpleRNN",
        "--seeds",
        "1-3",
        "--jitter",
        0.05,
        "--against",
        "models:/gestures@champion",
    )
    output = command("compare", "--source", gestures, *options, *SMALL).output
    page = mlflow.artifacts.load_text(f"runs:/{run_id_in(output)}/comparison/report.html")
    assert "gestures-" in page
    assert "keras.layers:SimpleRNN" in page
    assert "18" in page


def test_a_search_chooses_among_ranges(command: Command, gestures: Path) -> None:
    options = ("--cell", "rnn", "--trials", 3, "--range", "learning_rate=1e-3..1e-2:log", "--confirm", 0, "--epochs", 3)
    run = mlflow.get_run(run_id_in(command("search", "--source", gestures, *options, *SMALL[:2]).output))
    assert "sequences" == run.data.params["recipe"]
    assert "best_run_id" in run.data.tags


def test_an_entry_point_takes_a_source(entry_point: Callable[..., Run], gestures: Path) -> None:
    run = entry_point("main", source=gestures, hidden_units=8, epochs=1)
    assert ("sequences", "1") == (run.data.params["recipe"], run.data.params["epochs"])


@pytest.mark.skipif(not ARCHIVE.exists(), reason="needs the real sequences beside the checkout")
def test_a_data_set_of_the_archive_is_chosen_by_name(command: Command) -> None:
    """270 utterances, a tenth of them for validation, and 370 for the test, as the archive says."""
    output = command("run", "--source", ARCHIVE, "--dataset", "JapaneseVowels", "--cell", "rnn", "--epochs", 4).output
    assert "243 train, 27 validation, 370 test sequences" in output
    assert mlflow.get_run(run_id_in(output)).data.metrics["test_accuracy"] > 0.8


def test_images_in_a_numpy_file_are_images(command: Command, tmp_path: Path) -> None:
    digits = load_digits()
    images, names = (digits.images * 15).astype(np.uint8), np.array([f"n{label}" for label in digits.target])
    np.savez(
        tmp_path / "a.npz", x_train=images[:400], y_train=names[:400], x_test=images[400:500], y_test=names[400:500]
    )
    output = command("run", "--source", tmp_path / "a.npz", "--epochs", 1, "--hidden-units", 8).output
    run = mlflow.get_run(run_id_in(output))
    assert ("tutorial", "8") == (run.data.params["recipe"], run.data.params["steps"])
    assert "360 train, 40 validation, 100 test images" in output
