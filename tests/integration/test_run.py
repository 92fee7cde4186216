"""The content of a run in MLflow, compared with the contract."""

import json
import re
from dataclasses import fields
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import accuracy_score, log_loss

from pipeline.data import stored
from pipeline.data.splits import DataSet
from pipeline.settings import DataSettings, Settings
from tests.integration.conftest import DIGITS, Command, history, models_of, run_id_in

EPOCHS = [1, 2, 3]
PER_EPOCH = {
    *("cost", "accuracy", "val_cost", "val_accuracy"),
    *("learning_rate", "epoch_seconds", "samples_per_second", "epoch_cpu_seconds"),
}
ONCE = {
    *("test_cost", "test_accuracy", "best_val_accuracy", "best_epoch", "train_seconds", "parameters"),
    *("cpu_seconds", "seconds_download", "seconds_preprocess", "seconds_train", "seconds_evaluate"),
    *("test_macro_f1", "test_balanced_accuracy"),
    *("temperature", "test_calibration_error", "test_calibration_error_at_temperature"),
}
ARTIFACTS = {
    "training": {"history.csv", "curves.png"},
    "evaluation": {
        *("confusion_matrix.png", "misclassified.png", "accuracy_by_step.png"),
        *("per_class.csv", "predictions.parquet"),
    },
}


@pytest.fixture(scope="module")
def run(digits_run: str) -> Run:
    return mlflow.get_run(digits_run)


@pytest.fixture(scope="module")
def digits(digits_run: str) -> DataSet:
    return stored.find(DataSettings(dataset="digits"))


@pytest.fixture(scope="module")
def model(digits_run: str) -> Path:
    """Return the folder of the logged model."""
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{digits_run}/digits-gru"))


def test_it_is_named_by_what_is_no_default_and_holds_every_parameter_resolved_and_no_other(run: Run) -> None:
    assert ("gru-digits-units=16-lr=0.01-epochs=3-s1", "FINISHED") == (run.info.run_name, run.info.status)
    assert {field.name for field in fields(Settings)} == run.data.params.keys()
    assert {
        "dataset": "digits",
        "cell": "gru",
        "steps": "8",
        "hidden_units": "16",
        "learning_rate": "0.01",
        "epochs": "3",
        "seed": "1",
        "shards": "2",
    }.items() <= run.data.params.items()


def test_it_holds_the_metrics_of_the_contract_those_of_an_epoch_at_each_step_once(run: Run) -> None:
    own = {name for name in run.data.metrics if not name.startswith("system/")}
    assert PER_EPOCH | ONCE == own
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 0  # a sample of the CPU may cover no time
    for metric in PER_EPOCH:
        assert EPOCHS == [step for step, _ in history(run.info.run_id, metric)]
    step, accuracy = max(history(run.info.run_id, "val_accuracy"), key=lambda entry: entry[1])
    assert (accuracy, step) == (run.data.metrics["best_val_accuracy"], run.data.metrics["best_epoch"])
    # 8 inputs, 16 units, 10 classes; three gates with two bias vectors each; the last layer.
    assert 3 * (8 * 16 + 16 * 16 + 2 * 16) + 16 * 10 + 10 == run.data.metrics["parameters"]


def test_it_names_its_data_its_machine_and_its_versions(run: Run, digits: DataSet) -> None:
    tags = run.data.tags
    assert ("digits", digits.digest) == (tags["dataset"], tags["dataset_digest"])
    assert "core" in tags["machine"]
    assert {"version.tensorflow", "version.keras", "version.mlflow"} <= tags.keys()
    inputs = {entry.dataset.name: entry.dataset.digest for entry in (run.inputs.dataset_inputs if run.inputs else ())}
    assert {"digits-training": digits.digest8, "digits-test": digits.digest8} == inputs


def test_it_holds_the_artifacts_of_the_contract(run: Run) -> None:
    client, run_id = MlflowClient(), run.info.run_id
    found = {
        folder.path: {Path(file.path).name for file in client.list_artifacts(run_id, folder.path)}
        for folder in client.list_artifacts(run_id)
    }
    assert found == ARTIFACTS
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/training/history.csv"))
    np.testing.assert_allclose(table[["epoch", "cost"]], history(run.info.run_id), rtol=1e-9)


def test_its_predictions_give_its_accuracy_and_cost(run: Run, digits: DataSet) -> None:
    file = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/evaluation/predictions.parquet")
    predictions = pd.read_parquet(file)
    probabilities = predictions[[f"p_{name}" for name in digits.class_names]].to_numpy(np.float64)
    assert run.data.metrics["test_accuracy"] == accuracy_score(digits.test.labels, predictions["predicted"])
    assert run.data.metrics["test_cost"] == pytest.approx(log_loss(digits.test.labels, probabilities), rel=1e-5)


def test_the_ui_shows_accuracy_and_data_beside_its_model(run: Run, digits: DataSet) -> None:
    (logged,) = models_of(run)
    shown = {metric.key: (metric.value, metric.dataset_name, metric.dataset_digest) for metric in logged.metrics or ()}

    assert "digits-gru" == logged.name
    names = {"best_val_accuracy": "digits-training", "test_accuracy": "digits-test", "test_cost": "digits-test"}
    for name, dataset in names.items():
        assert (run.data.metrics[name], dataset, digits.digest8) == shown[name]


def test_the_experiment_is_one_of_model_training_and_explains_its_columns(run: Run) -> None:
    tags = MlflowClient().get_experiment(run.info.experiment_id).tags
    assert "custom_model_development" == tags["mlflow.experimentKind"]
    assert {*run.data.metrics} >= set(re.findall(r"`([a-z]+_[a-z_]+)`", tags["mlflow.note.content"]))


def test_in_a_described_experiment_and_beside_a_uv_lock_a_run_changes_and_takes_neither(
    command: Command, digits_run: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n')
    mlflow.create_experiment("described", tags={"mlflow.note.content": "Mine."})
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "described")
    monkeypatch.chdir(tmp_path)

    options = ("--epochs", 1, "--hidden-units", 8, "--data-dir", store / "data")
    output = command("train", "--dataset", "digits", *options).output

    run = mlflow.get_run(run_id_in(output))
    assert "Mine." == MlflowClient().get_experiment(run.info.experiment_id).tags["mlflow.note.content"]
    folder = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/digits-gru")
    files = {path.name for path in Path(folder).rglob("*")}
    assert "requirements.txt" in files
    assert not {"uv.lock", "pyproject.toml"} & files


def test_its_model_is_the_trained_one_in_stock_keras(run: Run, model: Path, digits: DataSet) -> None:
    images = digits.test.examples.astype(np.float32)
    keras_model = keras.saving.load_model(model / "artifacts" / "model.keras")
    served = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/digits-gru").predict(images)

    np.testing.assert_allclose(served, keras_model(images).numpy(), atol=1e-6)
    modules = {type(layer).__module__.partition(".")[0] for layer in keras_model.layers}
    assert {"keras"} == modules
    accuracy = accuracy_score(digits.test.labels, served.argmax(axis=1))
    assert run.data.metrics["test_accuracy"] == accuracy


def test_its_model_takes_raw_pixels_gives_probabilities_and_names_the_few_packages_it_needs(model: Path) -> None:
    signature = mlflow.models.get_model_info(str(model)).signature
    assert [("float32", (-1, 8, 8))] == [(spec.type.name, spec.shape) for spec in signature.inputs]
    assert [("float32", (-1, 10))] == [(spec.type.name, spec.shape) for spec in signature.outputs]
    assert json.loads((model / "input_example.json").read_text())
    lines = (model / "requirements.txt").read_text().split()
    assert {"mlflow-skinny", "numpy", "pandas", "tensorflow"} == {line.partition("==")[0] for line in lines}
    assert all("==" in line for line in lines)


def test_its_model_is_code_that_imports_three_packages_and_no_pickle(model: Path) -> None:
    imported = re.findall(r"^ *(?:import|from) (\w+)", (model / "scoring.py").read_text(), re.MULTILINE)
    assert {"mlflow", "numpy", "tensorflow", "typing"} == {*imported}
    assert not list(model.rglob("*.pkl"))


def test_the_same_again_skips_the_data_and_repeats_the_costs_exactly(command: Command, digits_run: str) -> None:
    output = command(*DIGITS, "--new").output

    assert "Skipped download" in output
    assert "Skipped preprocess" in output
    assert history(digits_run) == history(run_id_in(output))
