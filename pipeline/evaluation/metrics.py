"""Compute metrics, tables and calibration from labels and probabilities.

Shapes: N examples, C classes. ``labels`` and ``predicted`` are (N,) whole
numbers from 0 to C − 1; ``probabilities`` is (N, C), and its rows sum to 1. The
predicted class is the one with the largest. Each table has one row per example,
class or epoch, and is logged unchanged.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from pipeline.epochs import EpochRecord

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]

# A softmax in float32 gives 0 to a class that is about 100 nats behind. The logarithm of one 0 would make the mean of
# all examples infinite; with the smallest normal float32 instead, such an example costs 87.3 nats.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)

COLDEST, WARMEST = 0.25, 4.0
"""The range of temperatures; without a limit, there is no best one if all answers are correct."""

_BINS = 15  # the number in the article


def cost(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean cross-entropy, −ln of the probability of the true class, in nats."""
    of_true = _pick(probabilities, labels).astype(np.float64)  # (N,)
    return float(-np.log(np.maximum(of_true, SMALLEST_PROBABILITY)).mean())


def confusion(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Return (C, C) counts: examples of the class of the row that are predicted to be of the class of the column."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(labels, predicted, labels=range(classes)))


def row_shares(matrix: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return confusion counts (C, C) as shares of the true class, 0–1; the row of a class without examples is 0."""
    return np.asarray(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


def per_class(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a row per class: class, precision, recall, f1 (fractions), support (examples of that class).

    A class that is never predicted has precision 0; a class without examples has recall 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=range(len(class_names)), zero_division=0)
    return pd.DataFrame(
        {"class": class_names} | dict(zip(("precision", "recall", "f1", "support"), columns, strict=True))
    )


def class_averages(labels: Labels, predicted: Labels) -> tuple[float, float]:
    """Return macro F1 and balanced accuracy, the means of F1 and recall over the classes that have examples."""
    from sklearn.metrics import precision_recall_fscore_support

    _, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    return float(f1), float(recall)


def predictions(
    labels: Labels, probabilities: Probabilities, class_names: Sequence[str], ids: NDArray[np.str_] | None = None
) -> pd.DataFrame:
    """Return a row per example.

    Columns: index (position in the split), id (if the examples have ``ids``), label, predicted, correct,
    probability (of the predicted class), and ``p_<class>`` (float32) per class.
    """
    predicted = probabilities.argmax(axis=1)  # (N,)
    table = pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            **({} if ids is None else {"id": ids}),
            "label": labels.astype(np.int64),
            "predicted": predicted,
            "correct": labels == predicted,
            "probability": probabilities.max(axis=1).astype(np.float32),
        }
    )
    columns = [f"p_{name}" for name in class_names]
    return table.join(pd.DataFrame(probabilities.astype(np.float32), columns=columns))


def history(records: Sequence[EpochRecord]) -> pd.DataFrame:
    """Return a row per epoch and a column per field of :class:`EpochRecord`, in its order and units."""
    return pd.DataFrame(list(records))


def _pick(probabilities: Probabilities, classes: Labels) -> Probabilities:
    """Return (N,): from each row of ``probabilities`` (N, C), the probability of the given class."""
    return np.asarray(np.take_along_axis(probabilities, classes.astype(np.intp)[:, np.newaxis], axis=1)[:, 0])


# --- calibration ------------------------------------------------------------------------------------------------------
#
# "Temperature scaling" of C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On Calibration of Modern Neural Networks", ICML
# 2017: all logits are divided by one number, which is chosen on the validation images. The most probable class stays
# the same. The logarithms of the probabilities serve as logits.


def temperature(labels: Labels, probabilities: Probabilities) -> float:
    """Return the temperature with the lowest mean cross-entropy of the true classes, in whose inverse it is convex."""
    logits = _logits(probabilities)
    of_true = _pick(logits, labels).mean()

    def cost_at(inverse: float) -> float:
        return float(logsumexp(inverse * logits, axis=1).mean() - inverse * of_true)

    bounds = 1 / WARMEST, 1 / COLDEST
    return float(1 / minimize_scalar(cost_at, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)


def calibrated(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Return the probabilities (N, C) at a temperature; 1 changes nothing."""
    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1))


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error, a fraction: the distance between confidence and accuracy.

    Answers are sorted by probability into 15 bins of equal width. The error is the mean, over all examples, of the
    distance between the accuracy and the mean probability of their bin.
    """
    sureness, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((sureness * _BINS).astype(int), _BINS - 1)
    surplus = np.bincount(bins, weights=sureness.astype(np.float64) - right, minlength=_BINS)
    return float(np.abs(surplus).sum() / len(labels))


def _logits(probabilities: Probabilities) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST_PROBABILITY).astype(np.float64)))
