"""Test the model of a run on the held-out images; the results go onto that run.

    pipeline evaluate --run-id 4fdc…

The model is the one that is served, loaded back from where it was logged.
"""

import time
from pathlib import Path

import numpy as np
import tensorflow  # noqa: F401 - the model will; here its start is quietened by the command
from numpy.typing import NDArray

from pipeline.data import processed
from pipeline.data.processed import DataSet
from pipeline.errors import TrackingError
from pipeline.evaluation import figures, metrics
from pipeline.progress import Reporter
from pipeline.tracking import store

CHUNK = 1_000  # images that pass through the model at once: bounds the memory, costs no speed


def evaluate(run_id: str, data_dir: Path, reporter: Reporter) -> float:
    """Evaluate a run's model and return its test accuracy, a fraction.

    Raises:
        DataError: the data that the run was trained on is not in ``data_dir``.
        TrackingError: there is no such run, or it holds no model.
    """
    store.connect()
    tags = store.get_run(run_id).data.tags
    if "dataset_digest" not in tags:
        raise TrackingError(
            f"run_id: expected a training run of this pipeline, received {run_id!r}, which trained nothing."
        )
    return evaluate_on(run_id, processed.find_by_digest(data_dir, tags["dataset"], tags["dataset_digest"]), reporter)


def evaluate_on(run_id: str, data: DataSet, reporter: Reporter) -> float:
    """Evaluate a run's model on the test images of ``data``; return its test accuracy, a fraction."""
    started = time.perf_counter()
    labels = np.asarray(data.test.labels)
    probabilities = _probabilities(run_id, data)
    cost, accuracy = metrics.cost(labels, probabilities), metrics.accuracy(labels, probabilities.argmax(axis=1))
    _log_tables(run_id, data, probabilities)
    _log_figures(run_id, data, probabilities)
    store.log_metrics(
        run_id, {"test_cost": cost, "test_accuracy": accuracy, "seconds_evaluate": time.perf_counter() - started}
    )
    reporter.note(f"Test accuracy {accuracy:.2%}, cost {cost:.4f}, on {len(labels):,} images of {data.name}.")
    return accuracy


def _probabilities(run_id: str, data: DataSet) -> NDArray[np.float32]:
    """Return the model's answers to the test images, (N, C)."""
    model = store.load_model(run_id)
    starts = range(0, len(data.test.images), CHUNK)
    chunks = (data.test.images[start : start + CHUNK].astype(np.float32) for start in starts)
    return np.concatenate([model.predict(chunk) for chunk in chunks])


def _log_tables(run_id: str, data: DataSet, probabilities: NDArray[np.float32]) -> None:
    labels, predicted = data.test.labels, probabilities.argmax(axis=1)
    store.log_table(run_id, metrics.per_class(labels, predicted, data.class_names), "evaluation/per_class.csv")
    answers = metrics.predictions(labels, probabilities, data.class_names)
    store.log_table(run_id, answers, "evaluation/predictions.parquet")


def _log_figures(run_id: str, data: DataSet, probabilities: NDArray[np.float32]) -> None:
    labels, predicted = np.asarray(data.test.labels), probabilities.argmax(axis=1)
    title = f"{store.get_run(run_id).info.run_name} on the test images of {data.name}"
    matrix = metrics.confusion(labels, predicted, data.classes)
    worst = metrics.most_confidently_wrong(labels, probabilities, figures.GALLERY_LIMIT)
    store.log_figure(
        run_id, figures.confusion_matrix(matrix, data.class_names, title), "evaluation/confusion_matrix.png"
    )
    gallery = figures.misclassified(
        data.test.images[worst],
        labels[worst],
        predicted[worst],
        probabilities=probabilities[worst].max(axis=1),
        class_names=data.class_names,
        total_wrong=int((labels != predicted).sum()),
        title=title,
    )
    store.log_figure(run_id, gallery, "evaluation/misclassified.png")
