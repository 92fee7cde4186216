"""Calibration of probabilities: the temperature at which confidence matches accuracy.

"Temperature scaling" of C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On Calibration of Modern Neural Networks", ICML
2017: all logits are divided by one number, which is chosen on the validation images. The most probable class stays the
same. The logarithms of the probabilities serve as logits.

Shapes: ``labels`` (N,) are whole numbers from 0 to C − 1, ``probabilities`` (N, C).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from pipeline.evaluation.metrics import SMALLEST_PROBABILITY, Labels, Probabilities

COLDEST, WARMEST = 0.25, 4.0
"""The range of temperatures; without it, no lowest one is best where all answers are correct."""

BINS = 15  # as in the article
_HALVINGS = 40  # for twelve digits


def temperature(labels: Labels, probabilities: Probabilities) -> float:
    """Return the temperature with the lowest mean cross-entropy of the true classes.

    Its inverse b is found by bisection: the mean cross-entropy is convex in b, and its slope is the mean logit under
    the probabilities at b, minus the logit of the true class.
    """
    logits = _logits(probabilities)
    of_true = np.take_along_axis(logits, labels.astype(np.intp)[:, None], axis=1)[:, 0].mean()
    low, high = 1 / WARMEST, 1 / COLDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = (softmax(middle * logits, axis=1) * logits).sum(axis=1).mean() - of_true
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def calibrated(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Return the probabilities (N, C) at a temperature; 1 changes nothing."""
    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1))


def error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error, a fraction: the distance between confidence and accuracy.

    Answers are sorted by probability into 15 bins of equal width. The error is the mean, over all examples, of the
    distance between the accuracy and the mean probability of their bin.
    """
    sureness, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((sureness * BINS).astype(int), BINS - 1)
    surplus = np.bincount(bins, weights=sureness.astype(np.float64) - right, minlength=BINS)
    return float(np.abs(surplus).sum() / len(labels))


def _logits(probabilities: Probabilities) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST_PROBABILITY).astype(np.float64)))
