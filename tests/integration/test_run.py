"""What one `pipeline run` leaves in MLflow, held against the contract."""

import ast
import json
import re
from collections import Counter
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

from pipeline.data import processed
from pipeline.data.splits import DataSet
from pipeline.settings import DataSettings, Settings
from tests.integration.conftest import DIGITS, Command, Training, run_id_in

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
def run(digits_run: Training) -> Run:
    return mlflow.get_run(digits_run.run_id)


@pytest.fixture(scope="module")
def digits(digits_run: Training) -> DataSet:
    return processed.find(DataSettings(dataset="digits"))


@pytest.fixture(scope="module")
def model(digits_run: Training) -> Path:
    """Return the folder of the logged model."""
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{digits_run.run_id}/digits-gru"))


def costs(run_id: str) -> list[float]:
    return [metric.value for metric in MlflowClient().get_metric_history(run_id, "cost")]


def test_it_is_finished_under_the_name_of_all_that_is_no_default(run: Run) -> None:
    assert ("gru-digits-units=16-lr=0.01-epochs=3-s1", "FINISHED") == (run.info.run_name, run.info.status)


def test_it_holds_every_parameter_resolved_and_no_other(run: Run) -> None:
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


def test_it_holds_the_metrics_of_the_contract_and_the_systems(run: Run) -> None:
    own = {name for name in run.data.metrics if not name.startswith("system/")}
    assert PER_EPOCH | ONCE == own
    sampled = MlflowClient().get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
    assert max(sample.value for sample in sampled) > 0  # the last one may be of no time at all


@pytest.mark.parametrize("metric", sorted(PER_EPOCH))
def test_a_metric_per_epoch_stands_at_each_step_once(run: Run, metric: str) -> None:
    history = MlflowClient().get_metric_history(run.info.run_id, metric)
    assert EPOCHS == [entry.step for entry in history]


def test_the_parameters_are_those_counted_by_hand(run: Run) -> None:
    # 8 inputs, 16 units, 10 classes; three gates with two bias vectors each; the last layer.
    assert 3 * (8 * 16 + 16 * 16 + 2 * 16) + 16 * 10 + 10 == run.data.metrics["parameters"]


def test_the_best_epoch_is_the_one_of_the_best_validation_accuracy(run: Run) -> None:
    history = MlflowClient().get_metric_history(run.info.run_id, "val_accuracy")
    best = max(history, key=lambda entry: entry.value)
    assert (best.value, best.step) == (run.data.metrics["best_val_accuracy"], run.data.metrics["best_epoch"])


def test_it_names_its_data_its_machine_and_its_versions(run: Run, digits: DataSet) -> None:
    tags = run.data.tags
    assert ("digits", digits.digest) == (tags["dataset"], tags["dataset_digest"])
    assert "core" in tags["machine"]
    assert {"version.tensorflow", "version.keras", "version.mlflow"} <= tags.keys()
    assert run.inputs is not None
    inputs = {entry.dataset.name: entry.dataset.digest for entry in (run.inputs.dataset_inputs if run.inputs else ())}
    assert {"digits-training": digits.digest8, "digits-test": digits.digest8} == inputs


def test_it_holds_the_artifacts_of_the_contract(run: Run) -> None:
    client, run_id = MlflowClient(), run.info.run_id
    found = {
        folder.path: {Path(file.path).name for file in client.list_artifacts(run_id, folder.path)}
        for folder in client.list_artifacts(run_id)
    }
    assert found == ARTIFACTS


def test_its_history_is_that_of_the_metrics(run: Run) -> None:
    history = pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/training/history.csv"))
    assert EPOCHS == history["epoch"].to_list()
    np.testing.assert_allclose(history["cost"], costs(run.info.run_id), rtol=1e-9)


def test_its_predictions_give_its_accuracy_and_cost(run: Run, digits: DataSet) -> None:
    file = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/evaluation/predictions.parquet")
    predictions = pd.read_parquet(file)
    probabilities = predictions[[f"p_{name}" for name in digits.class_names]].to_numpy(np.float64)
    assert run.data.metrics["test_accuracy"] == accuracy_score(digits.test.labels, predictions["predicted"])
    assert run.data.metrics["test_cost"] == pytest.approx(log_loss(digits.test.labels, probabilities), rel=1e-5)


def test_the_ui_shows_accuracy_and_data_beside_its_model(run: Run, digits: DataSet) -> None:
    (logged,) = MlflowClient().search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    shown = {metric.key: (metric.value, metric.dataset_name, metric.dataset_digest) for metric in logged.metrics or ()}

    assert "digits-gru" == logged.name
    names = {"best_val_accuracy": "digits-training", "test_accuracy": "digits-test", "test_cost": "digits-test"}
    for name, dataset in names.items():
        assert (run.data.metrics[name], dataset, digits.digest8) == shown[name]
    assert {"digits-training", "digits-test"} == {
        entry.dataset.name for entry in (run.inputs.dataset_inputs if run.inputs else ())
    }


def test_the_experiment_is_one_of_model_training_and_says_what_its_columns_mean(run: Run) -> None:
    tags = MlflowClient().get_experiment(run.info.experiment_id).tags
    assert "custom_model_development" == tags["mlflow.experimentKind"]
    assert {*run.data.metrics} >= set(re.findall(r"`([a-z]+_[a-z_]+)`", tags["mlflow.note.content"]))


@pytest.fixture(scope="module")
def elsewhere(command: Command, digits_run: Training, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of a described experiment, trained in the folder of another project, which uv manages."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "uv.lock").write_text("version = 1\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n')
    mlflow.create_experiment("described", tags={"mlflow.note.content": "Mine."})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "described")
        patch.chdir(folder)
        output = command("train", "--dataset", "digits", "--epochs", 1, "--data-dir", store / "data").output
    return mlflow.get_run(run_id_in(output))


def test_what_a_person_has_said_of_an_experiment_stays(elsewhere: Run) -> None:
    assert "Mine." == MlflowClient().get_experiment(elsewhere.info.experiment_id).tags["mlflow.note.content"]


def test_its_model_is_the_trained_one_in_stock_keras(run: Run, model: Path, digits: DataSet) -> None:
    images = digits.test.examples.astype(np.float32)
    keras_model = keras.saving.load_model(model / "artifacts" / "model.keras")
    served = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/digits-gru").predict(images)

    np.testing.assert_allclose(served, keras_model(images).numpy(), atol=1e-6)
    modules = {type(layer).__module__.partition(".")[0] for layer in keras_model.layers}
    assert {"keras"} == modules
    accuracy = accuracy_score(digits.test.labels, served.argmax(axis=1))
    assert run.data.metrics["test_accuracy"] == accuracy


def test_its_model_takes_raw_pixels_and_gives_probabilities(model: Path) -> None:
    signature = mlflow.models.get_model_info(str(model)).signature
    assert [("float32", (-1, 8, 8))] == [(spec.type.name, spec.shape) for spec in signature.inputs]
    assert [("float32", (-1, 10))] == [(spec.type.name, spec.shape) for spec in signature.outputs]
    assert json.loads((model / "input_example.json").read_text())


def test_its_model_names_the_few_packages_it_needs_exactly(model: Path) -> None:
    lines = (model / "requirements.txt").read_text().split()
    assert {"mlflow-skinny", "numpy", "pandas", "tensorflow"} == {line.partition("==")[0] for line in lines}
    assert all("==" in line for line in lines)


def test_its_model_is_code_that_imports_three_packages_and_no_pickle(model: Path) -> None:
    tree = ast.parse((model / "scoring.py").read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {"mlflow", "numpy", "tensorflow", "typing"} == {name.partition(".")[0] for name in imported}
    assert not list(model.rglob("*.pkl"))


def test_the_terminal_shows_a_line_per_epoch_and_the_result(digits_run: Training, run: Run) -> None:
    lines = Counter(line.split()[1] for line in digits_run.output.splitlines() if line.startswith("epoch "))
    assert {"1/3": 1, "2/3": 1, "3/3": 1} == lines
    assert f"Test accuracy {run.data.metrics['test_accuracy']:.2%}" in digits_run.output


def test_the_same_again_skips_the_data_and_repeats_the_costs_exactly(command: Command, digits_run: Training) -> None:
    output = command(*DIGITS, "--new").output

    assert "Skipped download" in output
    assert "Skipped preprocess" in output
    assert costs(digits_run.run_id) == costs(run_id_in(output))


def test_another_seed_gives_other_costs(command: Command, digits_run: Training) -> None:
    other = run_id_in(command(*DIGITS, "--seed", 2).output)

    assert not set(costs(digits_run.run_id)) & set(costs(other))


def test_evaluate_alone_repeats_the_results_on_the_same_run(command: Command, run: Run) -> None:
    command("evaluate", "--run-id", run.info.run_id)

    again = MlflowClient().get_metric_history(run.info.run_id, "test_cost")
    assert [run.data.metrics["test_cost"]] * 2 == [entry.value for entry in again]


def test_a_model_logged_beside_a_uv_lock_does_not_hold_it(elsewhere: Run) -> None:
    folder = mlflow.artifacts.download_artifacts(f"runs:/{elsewhere.info.run_id}/digits-gru")
    files = {path.name for path in Path(folder).rglob("*")}
    assert "requirements.txt" in files
    assert not {"uv.lock", "pyproject.toml"} & files
