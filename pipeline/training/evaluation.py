"""Evaluate the model of a run on the test examples, and log the results on that run.

The model is the one that is served, loaded back from where it was logged.
"""

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.data.splits import DataSet
from pipeline.evaluation import calibration, figures, metrics
from pipeline.progress import Reporter
from pipeline.tracking import classifier, lifecycle, models, schema, store
from pipeline.tracking.classifier import Classifier

CHUNK = 1_000  # examples per call of the model: limits the memory, at no cost in speed


def evaluate(run_id: str, data: DataSet, reporter: Reporter, *, trust: bool = False) -> float:
    """Evaluate a run's model on the test examples of ``data``; return its test accuracy, a fraction.

    Raises:
        TrackingError: the run holds no model, or it does not load.
        UsageError: its code is not from this pipeline, and ``trust`` is False.
    """
    started = time.perf_counter()
    labels = np.asarray(data.test.labels)
    run = store.get_run(run_id)
    model_id = models.id_of(run)
    model = classifier.load(f"models:/{model_id}", trust=trust, patient=True)
    probabilities = _probabilities(model, data)
    predicted = probabilities.argmax(axis=1)
    macro_f1, balanced_accuracy = metrics.class_averages(labels, predicted)
    title = f"{run.name} on the test {data.kind.name} of {data.name}"
    _log_tables(run_id, data, probabilities)
    _log_figures(run_id, data, probabilities, title)
    _log_partly_read(run_id, data, model, title)
    results = _calibration(labels, probabilities, model.temperature) | {
        schema.TEST_COST: metrics.cost(labels, probabilities),
        schema.TEST_MACRO_F1: macro_f1,
        schema.TEST_BALANCED_ACCURACY: balanced_accuracy,
        schema.SECONDS_EVALUATE: time.perf_counter() - started,
        schema.TEST_ACCURACY: metrics.accuracy(labels, predicted),
    }
    store.log_metrics(run_id, results, lifecycle.subject(model_id, data, "test"))
    said = summary(results, data)
    lifecycle.describe_result(run, said)
    reporter.result(said)
    return results[schema.TEST_ACCURACY]


def summary(results: Mapping[str, float], data: DataSet) -> str:
    """Return the result of an evaluation, from its metrics by name, as a sentence."""
    return (
        f"Test accuracy {results[schema.TEST_ACCURACY]:.2%}, cost {results[schema.TEST_COST]:.4f}, "
        f"on {len(data.test.labels):,} {data.kind.name} of {data.name}; "
        f"balanced accuracy {results[schema.TEST_BALANCED_ACCURACY]:.2%}, macro F1 {results[schema.TEST_MACRO_F1]:.2%}."
    )


def _probabilities(model: Classifier, data: DataSet) -> NDArray[np.float32]:
    """Return a model's answers to the test examples, (N, C)."""
    starts = range(0, len(data.test.labels), CHUNK)
    return np.concatenate([model.probabilities(data.test.examples[start : start + CHUNK]) for start in starts])


def _calibration(labels: NDArray[np.uint8], probabilities: NDArray[np.float32], temperature: float) -> dict[str, float]:
    """Return the calibration error of the model, without and with its temperature."""
    at_temperature = calibration.calibrated(probabilities, temperature)
    return {
        schema.TEST_CALIBRATION_ERROR: calibration.error(labels, probabilities),
        schema.TEST_CALIBRATION_ERROR_AT_TEMPERATURE: calibration.error(labels, at_temperature),
    }


def _log_partly_read(run_id: str, data: DataSet, model: Classifier, title: str) -> None:
    """Log the accuracy on the beginnings of the test examples, if the model can answer them."""
    parts = [slice(start, start + CHUNK) for start in range(0, len(data.test.labels), CHUNK)]
    partly = [data.kind.partly_read(np.asarray(data.test.examples[part]), model) for part in parts]
    told = [each for each in partly if each is not None]
    if told:
        right = np.concatenate([each.answers for each in told]) == np.asarray(data.test.labels)[:, np.newaxis]
        figure = figures.accuracy_by_step(told[0].read, right.mean(axis=0), told[0].what, title)
        store.log_figure(run_id, figure, schema.ACCURACY_BY_STEP)


def _log_tables(run_id: str, data: DataSet, probabilities: NDArray[np.float32]) -> None:
    labels, predicted = data.test.labels, probabilities.argmax(axis=1)
    store.log_table(run_id, metrics.per_class(labels, predicted, data.class_names), schema.PER_CLASS)
    store.log_table(
        run_id, metrics.predictions(labels, probabilities, data.class_names, data.test.ids), schema.PREDICTIONS
    )


def _log_figures(run_id: str, data: DataSet, probabilities: NDArray[np.float32], title: str) -> None:
    labels, predicted = np.asarray(data.test.labels), probabilities.argmax(axis=1)
    matrix = metrics.confusion(labels, predicted, data.classes)
    worst = metrics.most_confidently_wrong(labels, probabilities, figures.GALLERY_LIMIT)
    store.log_figure(run_id, figures.confusion_matrix(matrix, data.class_names, title), schema.CONFUSION_MATRIX)
    gallery = figures.misclassified(
        data.test.examples[worst],
        labels[worst],
        predicted[worst],
        probabilities=probabilities[worst].max(axis=1),
        class_names=data.class_names,
        kind=data.kind,
        total_wrong=int((labels != predicted).sum()),
        title=title,
    )
    store.log_figure(run_id, gallery, schema.MISCLASSIFIED)
