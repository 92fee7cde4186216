"""Compute metrics and tables from labels and probabilities.

Shapes: N examples, C classes. ``labels`` and ``predicted`` are (N,) whole
numbers from 0 to C − 1; ``probabilities`` is (N, C), its rows sum to 1; what is
predicted is the class of the largest. A table of this file has one row per
example, class or epoch, and is written as it is returned.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.records import EpochRecord

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]

# A softmax in float32 gives 0 to a class that is about 100 nats behind. Its logarithm would make the mean of all
# images infinite for one image; taken as the smallest normal float32, such an image costs 87.3 nats.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)


def cost(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean cross-entropy, −ln of the probability of the true class, in nats."""
    of_true = _pick(probabilities, labels).astype(np.float64)  # (N,)
    return float(-np.log(np.maximum(of_true, SMALLEST_PROBABILITY)).mean())


def accuracy(labels: Labels, predicted: Labels) -> float:
    """Return the fraction of examples whose class is predicted right."""
    return float(np.mean(labels == predicted))


def confusion(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Return (C, C) counts: examples of the row's class that are predicted to be of the column's."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(labels, predicted, labels=range(classes)))


def row_shares(matrix: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return confusion counts (C, C) as shares of the true class, 0–1; a class without examples has 0 throughout."""
    return np.asarray(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


def per_class(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a row per class: class, precision, recall, f1 (fractions), support (examples of that class).

    A class that is never predicted has precision 0; one that has no examples, recall 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=range(len(class_names)), zero_division=0)
    return pd.DataFrame(
        {"class": class_names} | dict(zip(("precision", "recall", "f1", "support"), columns, strict=True))
    )


def class_averages(labels: Labels, predicted: Labels) -> tuple[float, float]:
    """Return macro F1 and balanced accuracy, the means of F1 and recall over the classes that have examples."""
    from sklearn.metrics import f1_score, recall_score

    present = np.unique(labels)
    settings = {"labels": present, "average": "macro", "zero_division": 0.0}
    return float(f1_score(labels, predicted, **settings)), float(recall_score(labels, predicted, **settings))


def predictions(
    labels: Labels, probabilities: Probabilities, class_names: Sequence[str], ids: NDArray[np.str_] | None = None
) -> pd.DataFrame:
    """Return a row per example.

    Columns: index (position in the split), id (where the examples have ``ids``), label, predicted, correct,
    probability (of what is predicted), and ``p_<class>`` (float32) per class.
    """
    predicted = probabilities.argmax(axis=1)  # (N,)
    table = pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            **({} if ids is None else {"id": ids}),
            "label": labels.astype(np.int64),
            "predicted": predicted,
            "correct": labels == predicted,
            "probability": _pick(probabilities, predicted).astype(np.float32),
        }
    )
    columns = [f"p_{name}" for name in class_names]
    return table.join(pd.DataFrame(probabilities.astype(np.float32), columns=columns))


def history(records: Sequence[EpochRecord]) -> pd.DataFrame:
    """Return a row per epoch, a column per field of :class:`EpochRecord`, in its order and units."""
    return pd.DataFrame([asdict(record) for record in records], columns=[field.name for field in fields(EpochRecord)])


def most_confidently_wrong(labels: Labels, probabilities: Probabilities, limit: int) -> NDArray[np.intp]:
    """Return the positions of at most ``limit`` misclassified examples, the surest first; (≤ limit,).

    Examples that are equally sure come in their own order.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(labels != predicted)
    sureness = _pick(probabilities, predicted)[wrong]
    return wrong[np.argsort(-sureness, kind="stable")][:limit]


def _pick(probabilities: Probabilities, classes: Labels) -> Probabilities:
    """Return (N,): of each row of ``probabilities`` (N, C) the one of that row's class."""
    picked: Probabilities = np.take_along_axis(probabilities, classes.astype(np.intp)[:, None], axis=1)[:, 0]
    return picked
