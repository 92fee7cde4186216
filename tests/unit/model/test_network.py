"""The forward pass, compared with NumPy code that is written from the equations of the papers.

RNN: Elman (1990). LSTM: Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000). GRU: Cho et al.
(2014), with the reset gate after the product, as in cuDNN.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.kinds.images import Images
from pipeline.model import network
from pipeline.settings import Settings
from tests.unit.model.test_trainer import CELLS, assert_same

Array = NDArray[Any]

# numpy.random.RandomState(2015).permutation(6), in three steps
PERMUTED = [[3, 1], [5, 0], [4, 2]]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def rnn(xs: Array, w: Array, u: Array, b: Array) -> Array:
    h = np.zeros(u.shape[0])
    for x in xs:
        h = np.tanh(x @ w + h @ u + b)
    return h


def lstm(xs: Array, w: Array, u: Array, b: Array) -> Array:
    h = c = np.zeros(u.shape[0])
    for x in xs:
        i, f, g, o = np.split(x @ w + h @ u + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def gru(xs: Array, w: Array, u: Array, b: Array) -> Array:
    h = np.zeros(u.shape[0])
    for x in xs:
        xz, xr, xn = np.split(x @ w + b[0], 3)
        hz, hr, hn = np.split(h @ u + b[1], 3)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * np.tanh(xn + r * hn)
    return h


def mgu(xs: Array, w: Array, u: Array, b: Array) -> Array:
    h = np.zeros(u.shape[0])
    for x in xs:
        (xf, xn), (hf, hn) = np.split(x @ w + b[0], 2), np.split(h @ u + b[1], 2)
        f = sigmoid(xf + hf)
        h = (1 - f) * h + f * np.tanh(xn + f * hn)
    return h


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("cell", [rnn, lstm, gru, mgu])
def test_the_forward_pass_follows_the_equations(cell: Any, direction: str) -> None:
    settings = Settings.of({"cell": cell.__name__, "hidden_units": 5, "direction": direction, "steps": 4})
    model = network.build(settings, Images(height=2, width=6), classes=3)
    generator = np.random.default_rng(0)
    weights = [generator.normal(0, 0.5, weight.shape) for weight in model.get_weights()]
    model.set_weights(weights)
    image = generator.integers(0, 256, (2, 6)).astype(np.float32)

    steps = image.reshape(4, 3) / 255
    outputs = [cell(steps, *weights[:3])]
    if direction == "bidirectional":
        outputs.append(cell(steps[::-1], *weights[3:6]))
    logits = np.concatenate(outputs) @ weights[-2] + weights[-1]
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(model(image[np.newaxis]).numpy()[0], expected, rtol=1e-5)


def built(height: int = 6, width: int = 5, **given: Any) -> keras.Model:
    return network.build(Settings.of({"hidden_units": 4} | given), Images(height=height, width=width), classes=3)


@pytest.mark.parametrize(
    ("order", "steps", "expected"),
    [
        ("rows", 0, [[0, 1, 2], [3, 4, 5]]),
        ("rows", 6, [[0], [1], [2], [3], [4], [5]]),
        ("rows", 1, [[0, 1, 2, 3, 4, 5]]),
        ("columns", 0, [[0, 3], [1, 4], [2, 5]]),
        ("columns", 6, [[0], [3], [1], [4], [2], [5]]),
        ("snake", 0, [[0, 1, 2], [5, 4, 3]]),
        ("permuted", 3, PERMUTED),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_pixels_are_read_in_the_requested_order_and_steps(
    order: str, steps: int, expected: list[list[int]], seed: int
) -> None:
    model = built(2, 3, order=order, steps=steps, seed=seed)
    image = np.arange(6.0).reshape(1, 2, 3) * 255

    read = keras.Model(model.input, model.get_layer("steps").output)(image)
    np.testing.assert_allclose(read[0], expected, rtol=1e-6)


def test_the_seed_and_nothing_else_decides_the_weights() -> None:
    kernel, same, other = (built(seed=seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(kernel, same)
    assert not np.array_equal(kernel, other)
    assert_same(built(layers=2).get_weights(), built(layers=2, dropout=0.5).get_weights())


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3), ("mgu", 2)])
def test_the_recurrent_weights_of_every_gate_can_start_as_the_identity(cell: str, gates: int) -> None:
    kind: dict[str, Any] = {"cell": cell, "layers": 2, "direction": "bidirectional"}
    drawn, identity = built(**kind), built(**kind, initializer="identity")

    for expected, actual in zip(drawn.trainable_weights, identity.trainable_weights, strict=True):
        if actual.name == "recurrent_kernel":
            np.testing.assert_array_equal(actual, np.hstack([np.eye(4)] * gates))
        else:
            np.testing.assert_array_equal(actual, expected)


def biases(cell: str, initializer: str, seed: int = 1) -> list[Array]:
    kind: dict[str, Any] = {"cell": cell, "hidden_units": 50, "layers": 2, "steps": 100, "seed": seed}
    model, others = built(10, 10, initializer=initializer, **kind), built(10, 10, **kind)
    for expected, weight in zip(others.trainable_weights, model.trainable_weights, strict=True):
        if weight.name != "bias":
            np.testing.assert_array_equal(weight, expected)
    return [np.asarray(model.get_layer(f"{cell}_{number}").get_weights()[2]) for number in (1, 2)]


@pytest.mark.parametrize("initializer", ["chrono", "log-chrono"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mgu"])
def test_chrono_initialises_the_forget_gate_for_2_to_all_steps(cell: str, initializer: str) -> None:
    """A gate that keeps a fraction k per step remembers 1 / (1 - k) steps; half of them have less than the median."""
    for bias in biases(cell, initializer):
        if cell == "lstm":
            updates, kept, *others = np.split(bias, 4)
            np.testing.assert_array_equal(updates, -kept)
        else:
            first, *others = [*np.split(bias[0], bias.shape[1] // 50), bias[1]]
            kept = first if cell == "gru" else -first
        steps = 1 / (1 - sigmoid(kept))
        assert 1.99 < steps.min() < 15
        assert 80 < steps.max() < 100.01
        middle = 50 if initializer == "chrono" else 1 + 99**0.5
        assert 0.6 * middle < np.median(steps) < 1.5 * middle
        assert not np.concatenate(others).any()


SAVED: list[dict[str, Any]] = [
    *({"cell": cell, "layers": 2, "direction": "bidirectional", "dropout": 0.5} for cell in CELLS),
    *({"cell": cell, "steps": 70, "order": "permuted"} for cell in ("lstm", "mgu")),  # a loop without its gradients
    {"cell": "rnn", "activation": "relu", "initializer": "identity"},
    {"order": "snake", "steps": 10},
]


@pytest.mark.parametrize("kind", SAVED)
def test_both_saved_models_take_ordinary_images_and_equal_the_trained_model(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    height = 14 if kind.get("steps") == 70 else 6
    images = np.random.default_rng(0).integers(0, 256, (3, height, 5)).astype(np.float32)
    model = built(height, **kind)
    expected = model(images).numpy()

    network.save(model, Settings.of({"hidden_units": 4} | kind), Images(height=height, width=5), tmp_path)
    stock = keras.saving.load_model(tmp_path / "model.keras")
    graph = tf.saved_model.load(tmp_path / "saved_model").signatures

    assert all(type(layer).__module__.startswith("keras.src") for layer in stock._flatten_layers())  # the MGU's too
    np.testing.assert_allclose(stock(images), expected, rtol=1e-5)
    np.testing.assert_allclose(graph["serving_default"](pixels=images)["probabilities"], expected, rtol=1e-5)
    if kind.get("direction") == "bidirectional":  # it begins at the end: no answers before
        assert ["serving_default"] == list(graph)
    else:
        by_step = graph[network.BY_STEP](pixels=images)[network.BY_STEP]
        np.testing.assert_allclose(by_step[:, -1], expected, rtol=1e-5)


def test_a_model_is_saved_again_with_its_present_weights(tmp_path: Path) -> None:
    images, settings = np.full((2, 6, 5), 200, np.float32), Settings.of({"hidden_units": 4, "cell": "gru"})
    model = built(6, cell="gru")
    for factor in (1, 2):
        model.set_weights([factor * weight for weight in model.get_weights()])
        network.save(model, settings, Images(height=6, width=5), tmp_path)
        graph = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"]
        np.testing.assert_allclose(graph(pixels=images)["probabilities"], model(images), rtol=1e-5)
