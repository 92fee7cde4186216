import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from pipeline.epochs import EpochRecord
from pipeline.evaluation import metrics

NAMES = ["cat", "dog", "owl"]
LABELS = np.array([0, 0, 1, 1, 2], dtype=np.uint8)
PROBABILITIES = np.array(
    [
        [0.5, 0.25, 0.25],  # right
        [0.1, 0.8, 0.1],  # says dog
        [0.25, 0.5, 0.25],  # right
        [0.9, 0.05, 0.05],  # says cat, the most confident mistake
        [0.1, 0.8, 0.1],  # says dog; nothing is ever taken for an owl
    ],
    dtype=np.float32,
)
PREDICTED = np.array([0, 1, 1, 0, 1])


def test_cost_is_finite_for_probability_0_and_nan_for_nan() -> None:
    by_hand = (math.log(2) + math.log(10) + math.log(2) + math.log(20) + math.log(10)) / 5
    assert pytest.approx(by_hand, rel=1e-6) == metrics.cost(LABELS, PROBABILITIES)
    # −ln 2⁻¹²⁶, the smallest normal float32
    assert pytest.approx(126 * math.log(2)) == metrics.cost(np.array([1]), np.array([[1, 0]], np.float32))
    assert math.isnan(metrics.cost(np.array([0]), np.array([[np.nan, 1]])))


def test_confusion_has_true_rows_and_predicted_columns_for_all_classes() -> None:
    assert [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]] == metrics.confusion(LABELS, PREDICTED, 4).tolist()


def test_averages_over_the_classes_by_hand() -> None:
    """F1 and recall as below; a class without images does not count, even if it is predicted."""
    assert pytest.approx(((1 / 2 + 2 / 5 + 0) / 3, (1 / 2 + 1 / 2 + 0) / 3)) == metrics.class_averages(
        LABELS, PREDICTED
    )
    labels, predicted = np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2])
    assert pytest.approx(((4 / 5 + 1) / 2, (2 / 3 + 1) / 2)) == metrics.class_averages(labels, predicted)


@pytest.mark.filterwarnings("error")
def test_per_class_by_hand_and_zero_for_a_class_without_images() -> None:
    table = metrics.per_class(LABELS, PREDICTED, NAMES)
    assert ["class", "precision", "recall", "f1", "support"] == list(table.columns)
    assert NAMES == table["class"].tolist()
    assert pytest.approx([1 / 2, 1 / 3, 0]) == table["precision"].tolist()
    assert pytest.approx([1 / 2, 1 / 2, 0]) == table["recall"].tolist()
    assert pytest.approx([1 / 2, 2 / 5, 0]) == table["f1"].tolist()
    assert [2, 2, 1] == table["support"].tolist()
    assert ["owl", 0, 0, 0, 0] == metrics.per_class(np.array([0, 0]), np.array([0, 1]), NAMES).iloc[2].tolist()


def test_predictions_have_a_typed_row_per_image() -> None:
    table = metrics.predictions(LABELS, PROBABILITIES.astype(np.float64), NAMES)
    assert ["int64", "int64", "int64", "bool", *4 * ["float32"]] == [str(dtype) for dtype in table.dtypes]
    table.to_parquet(io.BytesIO())
    columns = ["index", "label", "predicted", "correct", "probability", "p_cat", "p_dog", "p_owl"]
    assert columns == list(table.columns)
    assert [0, 1, 2, 3, 4] == table["index"].tolist()
    assert [0, 0, 1, 1, 2] == table["label"].tolist()
    assert [0, 1, 1, 0, 1] == table["predicted"].tolist()
    assert [True, False, True, False, False] == table["correct"].tolist()
    assert pytest.approx([0.5, 0.8, 0.5, 0.9, 0.8]) == table["probability"].tolist()
    assert np.array_equal(table[["p_cat", "p_dog", "p_owl"]], PROBABILITIES)


def test_history_has_a_row_per_epoch_in_the_fields_order() -> None:
    record = EpochRecord(
        epoch=1,
        cost=0.525,
        accuracy=0.84,
        val_cost=0.3,
        val_accuracy=0.91,
        learning_rate=0.001,
        epoch_seconds=5.5,
        samples_per_second=10_000,
        epoch_cpu_seconds=10.5,
    )
    assert [
        "epoch,cost,accuracy,val_cost,val_accuracy,learning_rate,epoch_seconds,samples_per_second,epoch_cpu_seconds",
        "1,0.525,0.84,0.3,0.91,0.001,5.5,10000,10.5",
    ] == metrics.history([record]).to_csv(index=False).splitlines()


# --- calibration ------------------------------------------------------------------------------------------------------


def drawn(temperature: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return labels drawn from probabilities, and the probabilities at an inverse temperature (above 1: too sure)."""
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (4_000, 5))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((4_000, 1)) > true.cumsum(axis=1)).sum(axis=1)
    powers = np.exp(logits * temperature)
    return labels, powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_where_the_cost_is_smallest(temperature: float) -> None:
    labels, probabilities = drawn(temperature)

    def cost(tried: float) -> float:
        powers = probabilities ** (1 / tried)
        return float(log_loss(labels, powers / powers.sum(axis=1, keepdims=True)))

    found = metrics.temperature(labels, probabilities)

    assert pytest.approx(minimize_scalar(cost, bounds=(0.25, 4), method="bounded").x, rel=1e-4) == found
    assert pytest.approx(temperature, rel=0.1) == found


@pytest.mark.parametrize(("labels", "expected"), [([0, 1], metrics.COLDEST), ([1, 0], metrics.WARMEST)])
def test_the_temperature_of_no_or_only_wrong_answers_stays_in_range(labels: list[int], expected: float) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert pytest.approx(expected) == metrics.temperature(np.array(labels), probabilities)


def test_probabilities_at_a_temperature_by_hand() -> None:
    probabilities = np.array([[0.64, 0.36], [0.5, 0.5]])
    assert pytest.approx(probabilities) == metrics.calibrated(probabilities, 1)
    assert pytest.approx(np.array([[0.8 / 1.4, 0.6 / 1.4], [0.5, 0.5]])) == metrics.calibrated(probabilities, 2)
    assert np.isfinite(metrics.calibrated(np.array([[1, 0]], np.float32), 4)).all()


def test_the_calibration_error_by_hand() -> None:
    """Two answers of 0.98, one of them right, and one of 0.62, wrong: (|1.96 − 1| + |0.62 − 0|) ÷ 3."""
    probabilities = np.array([[0.98, 0.02], [0.02, 0.98], [0.62, 0.38]])
    assert pytest.approx((0.96 + 0.62) / 3) == metrics.calibration_error(np.array([0, 0, 1]), probabilities)
    assert 0 == metrics.calibration_error(np.array([1]), np.array([[0.0, 1.0]]))
