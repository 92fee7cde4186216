"""A user's sequences: gestures of different lengths in a table, with the commands that train."""

import json
import re
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.tracking import store
from tests.integration.conftest import Command, run_id_in

SMALL = ("--hidden-units", 16, "--epochs", 8, "--shards", 2)
CLASSES = ["falls", "rests", "rises"]


@pytest.fixture(scope="module")
def trained(command: Command, gestures: Path) -> tuple[Run, str]:
    output = command("run", "--source", gestures, "--cell", "gru", *SMALL, "--register", "gestures").output
    return mlflow.get_run(run_id_in(output)), output


def test_a_table_of_steps_is_trained_with_the_recipe_for_sequences(trained: tuple[Run, str], gestures: Path) -> None:
    run, output = trained
    assert "(18 of 90)" in output
    assert run.data.metrics["test_accuracy"] > 0.9
    parameters = {"recipe": "sequences", "batch_size": "16", "epochs": "8", "steps": "20", "schedule": "cosine"}
    assert parameters.items() <= run.data.params.items()
    assert run.data.params["dataset"].startswith("gestures-")
    figures = {f"{name}.png" for name in ("accuracy_by_step", "confusion_matrix", "misclassified")}
    listed = {Path(each.path).name for each in MlflowClient().list_artifacts(run.info.run_id, "evaluation")}
    assert {"per_class.csv", "predictions.parquet"} | figures == listed

    answers = store.load_table(run.info.run_id, "evaluation/predictions.parquet")  # the rows are sorted by id
    labels = pd.read_parquet(gestures).groupby("id")["label"].first()
    assert [labels[each] for each in answers["id"]] == [CLASSES[label] for label in answers["label"]]
    assert run.inputs is not None
    profiles = [json.loads(each.dataset.profile or "") for each in run.inputs.dataset_inputs]
    assert [CLASSES] * 2 == [each["classes"] for each in profiles]


def test_cells_are_compared_also_custom_ones_against_the_champion(
    command: Command, gestures: Path, trained: tuple[Run, str]
) -> None:
    cells = ("--cells", "gru,keras.layers:SimpleRNN", "--seeds", 1, "--against", "models:/gestures@champion")
    output = command("compare", "--source", gestures, *cells, *SMALL, "--workers", 1).output
    assert "Skipped download" in output
    assert re.search(r"^gru-\S+ +reused", output, re.MULTILINE)
    page = mlflow.artifacts.load_text(f"runs:/{run_id_in(output)}/comparison/report.html")
    assert "gestures-" in page
    assert "keras.layers:SimpleRNN" in page
