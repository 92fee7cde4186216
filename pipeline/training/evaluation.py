"""Evaluate the model of a run on the test examples, and log the results on that run.

The model is the one that is served, loaded back from where it was logged.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.splits import DataSet
from pipeline.evaluation import figures, metrics
from pipeline.progress import Reporter
from pipeline.tracking import lifecycle, models, schema, store

CHUNK = 1_000  # examples per call of the model: limits the memory, at no cost in speed


def evaluate(run: schema.TrackedRun, data: DataSet, reporter: Reporter, *, trust: bool = False) -> None:
    """Evaluate the model of a run on the test examples of ``data``.

    Raises:
        TrackingError: the run has no model, or it does not load.
        UsageError: its code is not from this pipeline, and ``trust`` is False.
    """
    started = time.perf_counter()
    labels, logged = np.asarray(data.test.labels), models.of(run)
    model = models.load(logged.model_uri, trust=trust, patient=True)
    probabilities = in_chunks(model.probabilities, data.test.examples)
    predicted = probabilities.argmax(axis=1)
    macro_f1, balanced_accuracy = metrics.class_averages(labels, predicted)
    lifecycle.log_input(run.run_id, data, "test")
    store.write_files(run.run_id, _files(run, data, model, probabilities))
    results = {
        "test_calibration_error": metrics.calibration_error(labels, probabilities),
        "test_calibration_error_at_temperature": metrics.calibration_error(
            labels, metrics.calibrated(probabilities, model.temperature)
        ),
        schema.TEST_COST: metrics.cost(labels, probabilities),
        schema.TEST_MACRO_F1: macro_f1,
        schema.TEST_BALANCED_ACCURACY: balanced_accuracy,
        "seconds_evaluate": time.perf_counter() - started,
        schema.TEST_ACCURACY: float(np.mean(labels == predicted)),
    }
    store.log_metrics(run.run_id, results, lifecycle.subject(str(logged.model_id), data, "test"))
    reporter.result(summary(results, data))


def summary(results: Mapping[str, float], data: DataSet) -> str:
    """Return the result of an evaluation, from its metrics by name, as a sentence."""
    return (
        f"Test accuracy {results[schema.TEST_ACCURACY]:.2%}, cost {results[schema.TEST_COST]:.4f}, "
        f"on {len(data.test.labels):,} {data.kind.name} of {data.name}; "
        f"balanced accuracy {results[schema.TEST_BALANCED_ACCURACY]:.2%}, macro F1 {results[schema.TEST_MACRO_F1]:.2%}."
    )


def in_chunks(answer: Callable[[NDArray[Any]], NDArray[Any]], examples: NDArray[Any]) -> NDArray[Any]:
    """Return the answers to all examples, computed for a part of them at a time."""
    return np.concatenate([answer(examples[start : start + CHUNK]) for start in range(0, len(examples), CHUNK)])


def _files(
    run: schema.TrackedRun, data: DataSet, model: models.Classifier, probabilities: NDArray[np.float32]
) -> dict[str, Any]:
    """Return the tables and figures of an evaluation by the paths of their artifacts."""
    title = f"{run.name} on the test {data.kind.name} of {data.name}"
    labels, predicted, names = np.asarray(data.test.labels), probabilities.argmax(axis=1), data.class_names
    answers = metrics.predictions(labels, probabilities, names, data.test.ids)
    files: dict[str, Any] = {
        schema.PER_CLASS: metrics.per_class(labels, predicted, names),
        schema.PREDICTIONS: answers,
        "evaluation/confusion_matrix.png": figures.confusion_matrix(
            metrics.confusion(labels, predicted, data.classes), names, title
        ),
        "evaluation/misclassified.png": figures.misclassified(
            data.test.examples, answers, names, kind=data.kind, title=title
        ),
    }
    by_step = model.by_step if model.step_by_step else None
    partly = [
        data.kind.partly_read(np.asarray(data.test.examples[start : start + CHUNK]), model.probabilities, by_step)
        for start in range(0, len(labels), CHUNK)
    ]
    if read := [each for each in partly if each is not None]:  # the model can answer the beginnings of examples
        right = np.concatenate([each.answers for each in read]) == labels[:, np.newaxis]
        files["evaluation/accuracy_by_step.png"] = figures.accuracy_by_step(
            read[0].read, right.mean(axis=0), read[0].what, title
        )
    return files
