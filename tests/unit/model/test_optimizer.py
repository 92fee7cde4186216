"""The optimizer for given settings: learning rates by hand, updates compared with NumPy."""

from typing import Any

import keras
import numpy as np
import pytest

from pipeline.model import optimizer
from pipeline.settings import Settings

BATCHES = 10


def built(*variables: keras.Variable, **given: Any) -> keras.optimizers.Adam:
    return optimizer.of(Settings.of(given), variables, batches=BATCHES)


def rate_at(step: int, **given: Any) -> float:
    optimizer = built(learning_rate=0.004, **given)
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


def updated(variable: keras.Variable, gradient: Any, steps: int = 1, **given: Any) -> keras.optimizers.Adam:
    optimizer = built(variable, **given)
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(np.asarray(gradient, np.float32))], [variable])
    return optimizer


def test_with_the_defaults_it_is_adam_and_nothing_more() -> None:
    expected = keras.optimizers.Adam(0.001).get_config()
    actual = built().get_config()
    assert expected | {"name": actual["name"], "ema_momentum": 0.0} == actual  # averaging is off


COSINE: dict[str, Any] = {"schedule": "cosine", "epochs": 30}
RATES: list[tuple[dict[str, Any], dict[int, float]]] = [
    (COSINE, {0: 0.004, 50: 0.004 * (1 + np.cos(np.pi / 6)) / 2, 150: 0.002, 300: 0, 400: 0}),
    (COSINE | {"warmup_epochs": 2}, {0: 0, 5: 0.001, 10: 0.002, 20: 0.004, 160: 0.002, 300: 0}),  # a cosine of 280
    ({"warmup_epochs": 0.5}, {0: 0, 1: 0.0008, 5: 0.004, 300: 0.004}),
    ({"schedule": "cosine", "epochs": 1, "warmup_epochs": 1}, {5: 0.002}),  # ends with the warm-up
]


@pytest.mark.parametrize(("given", "rates"), RATES)
def test_the_learning_rate_rises_in_the_warmup_and_falls_along_a_cosine(
    given: dict[str, Any], rates: dict[int, float]
) -> None:
    """An epoch has 10 batches."""
    assert pytest.approx(rates, abs=1e-9) == {step: rate_at(step, **given) for step in rates}


@pytest.mark.parametrize(
    ("name", "value", "decays"),
    [("kernel", [[2.0]], True), ("bias", [[2.0]], False), ("b", [2.0], False), ("scale", 2.0, False)],
)
def test_weights_decay_by_the_learning_rate_and_biases_do_not(name: str, value: Any, decays: bool) -> None:
    """A bias has at most one dimension, or "bias" in its name, as the two rows of a GRU."""
    variable = keras.Variable(value, name=name)
    updated(variable, np.zeros_like(value), weight_decay=0.1, learning_rate=0.01)
    assert pytest.approx(2 - 2 * 0.1 * 0.01 * decays) == float(np.sum(variable.numpy()))


def test_gradients_are_clipped_by_their_norm() -> None:
    optimizer = updated(keras.Variable([0.0, 0.0]), [3.0, 4.0], clip_norm=1)  # the norm is 5
    first_moment = next(v for v in optimizer.variables if "momentum" in v.path)
    np.testing.assert_allclose(first_moment, [0.1 * 0.6, 0.1 * 0.8], rtol=1e-5)


def test_weights_are_averaged_after_each_update() -> None:
    variable = keras.Variable([1.0])
    optimizer = updated(variable, [1.0], steps=3, ema=0.75, learning_rate=0.1)
    # With a constant gradient, each update of Adam moves by the learning rate: 0.9, 0.8, 0.7.
    assert pytest.approx(0.7, abs=1e-5) == float(variable.numpy()[0])
    optimizer.finalize_variable_values([variable])
    average = 0.75 * (0.75 * 0.9 + 0.25 * 0.8) + 0.25 * 0.7
    assert pytest.approx(average, abs=1e-5) == float(variable.numpy()[0])
