"""The temperature and the calibration error, against values by hand and against another minimiser."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from pipeline.evaluation import calibration


def answers(temperature: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return labels that are drawn from probabilities, and these at an inverse temperature: too sure above 1."""
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (4_000, 5))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((4_000, 1)) > true.cumsum(axis=1)).sum(axis=1)
    powers = np.exp(logits * temperature)
    return labels, powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_where_the_cost_is_smallest(temperature: float) -> None:
    labels, probabilities = answers(temperature)

    def cost(tried: float) -> float:
        powers = probabilities ** (1 / tried)
        return float(log_loss(labels, powers / powers.sum(axis=1, keepdims=True)))

    found = calibration.temperature(labels, probabilities)

    assert pytest.approx(minimize_scalar(cost, bounds=(0.25, 4), method="bounded").x, rel=1e-4) == found
    assert pytest.approx(temperature, rel=0.1) == found


@pytest.mark.parametrize(("labels", "expected"), [([0, 1], calibration.COLDEST), ([1, 0], calibration.WARMEST)])
def test_of_none_or_only_wrong_answers_it_goes_no_further_than_its_range(labels: list[int], expected: float) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert pytest.approx(expected) == calibration.temperature(np.array(labels), probabilities)


def test_probabilities_at_a_temperature_by_hand() -> None:
    probabilities = np.array([[0.64, 0.36], [0.5, 0.5]])
    assert pytest.approx(probabilities) == calibration.calibrated(probabilities, 1)
    assert pytest.approx(np.array([[0.8 / 1.4, 0.6 / 1.4], [0.5, 0.5]])) == calibration.calibrated(probabilities, 2)


def test_a_probability_of_zero_stays_a_number() -> None:
    assert np.isfinite(calibration.calibrated(np.array([[1, 0]], np.float32), 4)).all()
    found = calibration.temperature(np.array([0, 1]), np.array([[1, 0], [1, 0]], np.float32))
    assert pytest.approx(calibration.WARMEST) == found


def test_the_calibration_error_by_hand() -> None:
    """Two answers of 0.98, one of them right, and one of 0.62, wrong: (|1.96 − 1| + |0.62 − 0|) ÷ 3."""
    probabilities = np.array([[0.98, 0.02], [0.02, 0.98], [0.62, 0.38]])
    assert pytest.approx((0.96 + 0.62) / 3) == calibration.error(np.array([0, 0, 1]), probabilities)


def test_certainty_that_is_right_has_no_error() -> None:
    assert 0 == calibration.error(np.array([1]), np.array([[0.0, 1.0]]))
