"""The forward pass is compared with a computation in numpy, written from the equations of the papers.

RNN: Elman (1990). LSTM: Hochreiter and Schmidhuber (1997) with the forget gate
of Gers et al. (2000). GRU: Cho et al. (2014), the reset gate applied after the
product, as cuDNN does.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline import recipes
from pipeline.errors import UsageError
from pipeline.model import network
from pipeline.settings import Settings

Array = NDArray[Any]

# By hand, 28 inputs, 128 units, 10 classes: a gate holds 28·128 + 128·128 weights and 128 biases (the GRU's two
# and the MGU's two bias vectors: 256); the last layer 128·10 + 10.
GATE = 28 * 128 + 128 * 128 + 128
PARAMETERS = {"rnn": GATE + 1_290, "lstm": 4 * GATE + 1_290, "gru": 3 * (GATE + 128) + 1_290}
PARAMETERS["mgu"] = 2 * (GATE + 128) + 1_290

# numpy.random.RandomState(2015).permutation(6), in three steps
PERMUTED = [[3, 1], [5, 0], [4, 2]]


@pytest.mark.parametrize(("cell", "parameters"), PARAMETERS.items())
def test_each_cell_has_the_parameters_counted_by_hand(cell: str, parameters: int) -> None:
    model = network.build(Settings.of({"cell": cell}), height=28, width=28, classes=10)

    assert parameters == model.count_params()


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
def test_the_forward_pass_is_that_of_the_equations(cell: Any, direction: str) -> None:
    settings = Settings.of({"cell": cell.__name__, "hidden_units": 5, "direction": direction, "steps": 4})
    model = network.build(settings, height=2, width=6, classes=3)
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


def test_layers_are_stacked() -> None:
    model = network.build(Settings.of({"layers": 3, "hidden_units": 4}), height=6, width=5, classes=2)

    shapes = [layer.output.shape for layer in model.layers if isinstance(layer, keras.layers.GRU)]
    assert [(None, 6, 4), (None, 6, 4), (None, 4)] == shapes


@pytest.mark.parametrize(
    ("steps", "shape"), [(0, (28, 28)), (28, (28, 28)), (784, (784, 1)), (14, (14, 56)), (1, (1, 784))]
)
def test_an_image_is_read_in_as_many_steps_as_asked(steps: int, shape: tuple[int, int]) -> None:
    model = network.build(Settings.of({"steps": steps}), height=28, width=28, classes=10)

    assert (None, *shape) == model.get_layer("steps").output.shape


@pytest.mark.parametrize(
    ("order", "steps", "expected"),
    [
        ("rows", 0, [[0, 1, 2], [3, 4, 5]]),
        ("columns", 0, [[0, 3], [1, 4], [2, 5]]),
        ("columns", 6, [[0], [3], [1], [4], [2], [5]]),
        ("snake", 0, [[0, 1, 2], [5, 4, 3]]),
        ("permuted", 3, PERMUTED),
    ],
)
def test_the_pixels_are_read_in_the_order_asked(order: str, steps: int, expected: list[list[int]]) -> None:
    model = network.build(Settings.of({"order": order, "steps": steps}), height=2, width=3, classes=10)
    image = np.arange(6.0).reshape(1, 2, 3) * 255

    read = keras.Model(model.input, model.get_layer("steps").output)(image)
    np.testing.assert_allclose(read[0], expected, rtol=1e-6)


def test_permuted_is_the_same_permutation_for_every_seed() -> None:
    kinds = ({"order": "permuted", "steps": 784, "seed": seed, "hidden_units": 2} for seed in (1, 2))
    models = [network.build(Settings.of(kind), height=28, width=28, classes=10) for kind in kinds]
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28))

    first, second = (keras.Model(model.input, model.get_layer("steps").output)(image) for model in models)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("order", ["columns", "snake", "permuted"])
def test_in_another_order_both_saved_forms_take_ordinary_images(tmp_path: Path, order: str) -> None:
    settings = Settings.of({"order": order, "steps": 10, "hidden_units": 4, "dropout": 0.5})
    model = network.build(settings, height=6, width=5, classes=4)
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5)).astype(np.float32)

    network.save(model, tmp_path)

    classify = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(classify(pixels=images)["probabilities"].numpy(), model(images), rtol=1e-5)
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(images), model(images), rtol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mgu"])
def test_the_answer_after_each_step_is_that_of_a_network_that_reads_no_further(tmp_path: Path, cell: str) -> None:
    settings = {"cell": cell, "hidden_units": 4, "layers": 2, "dropout": 0.5, "order": "snake"}
    model = network.build(Settings.of(settings), height=6, width=5, classes=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 5)).astype(np.float32)

    network.save(model, tmp_path)

    graph = tf.saved_model.load(str(tmp_path / "saved_model"))
    actual = graph.signatures["probabilities_by_step"](pixels=images)["probabilities_by_step"].numpy()
    assert (2, 6, 3) == actual.shape
    for rows in range(1, 7):
        shorter = network.build(Settings.of(settings), height=rows, width=5, classes=3)
        shorter.set_weights(model.get_weights())
        np.testing.assert_allclose(actual[:, rows - 1], shorter(images[:, :rows]), rtol=1e-4)


def test_a_network_that_reads_in_both_directions_has_no_answer_before_the_end(tmp_path: Path) -> None:
    settings = Settings.of({"direction": "bidirectional", "hidden_units": 2})
    network.save(network.build(settings, height=3, width=4, classes=2), tmp_path)

    assert ["serving_default"] == list(tf.saved_model.load(str(tmp_path / "saved_model")).signatures)


def test_steps_that_do_not_divide_the_pixels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^steps: expected a divisor of 28 × 28 = 784 pixels, received 27\."):
        network.build(Settings.of({"steps": 27}), height=28, width=28, classes=10)


def test_the_same_seed_draws_the_same_weights_and_another_seed_others() -> None:
    def kernel(seed: int) -> Array:
        model = network.build(Settings.of({"seed": seed, "hidden_units": 3}), height=4, width=4, classes=2)
        return np.asarray(model.get_weights()[0])

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert not np.array_equal(kernel(1), kernel(2))


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3), ("mgu", 2)])
def test_the_recurrent_weights_of_every_gate_can_start_as_the_identity(cell: str, gates: int) -> None:
    settings = {"cell": cell, "hidden_units": 3, "layers": 2, "direction": "bidirectional"}
    kinds = ({"initializer": kind} for kind in ("orthogonal", "identity"))
    drawn, identity = (network.build(Settings.of(settings | kind), height=4, width=4, classes=2) for kind in kinds)

    for expected, actual in zip(drawn.trainable_weights, identity.trainable_weights, strict=True):
        if actual.name == "recurrent_kernel":
            np.testing.assert_array_equal(actual, np.hstack([np.eye(3)] * gates))
        else:
            np.testing.assert_array_equal(actual, expected)


def biases(cell: str, initializer: str, seed: int = 1) -> list[Array]:
    settings = {"cell": cell, "initializer": initializer, "hidden_units": 50, "layers": 2, "steps": 100, "seed": seed}
    model = network.build(Settings.of(settings), height=10, width=10, classes=2)
    others = network.build(Settings.of(settings | {"initializer": "orthogonal"}), height=10, width=10, classes=2)
    for expected, weight in zip(others.trainable_weights, model.trainable_weights, strict=True):
        if weight.name != "bias":
            np.testing.assert_array_equal(weight, expected)
    return [np.asarray(model.get_layer(f"{cell}_{number}").get_weights()[2]) for number in (1, 2)]


@pytest.mark.parametrize("initializer", ["chrono", "log-chrono"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mgu"])
def test_chrono_lets_the_gate_that_keeps_remember_from_2_to_all_steps(cell: str, initializer: str) -> None:
    """A gate that keeps a fraction k in a step remembers 1 / (1 - k) of them; half of them fewer than the median."""
    for bias in biases(cell, initializer):
        if cell == "lstm":
            taken_in, kept, *others = np.split(bias, 4)
            np.testing.assert_array_equal(taken_in, -kept)
        else:
            first, *others = [*np.split(bias[0], bias.shape[1] // 50), bias[1]]
            kept = first if cell == "gru" else -first
        steps = 1 / (1 - sigmoid(kept))
        assert 1.99 < steps.min() < 15
        assert 80 < steps.max() < 100.01
        middle = 50 if initializer == "chrono" else 1 + 99**0.5
        assert 0.6 * middle < np.median(steps) < 1.5 * middle
        assert not np.concatenate(others).any()


def test_chrono_draws_each_seed_and_layer_anew() -> None:
    first, second = biases("gru", "chrono")
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, biases("gru", "chrono", seed=2)[0])
    np.testing.assert_array_equal(first, biases("gru", "chrono")[0])


def test_the_irnn_is_the_vanilla_rnn_with_relu_started_at_the_identity(tmp_path: Path) -> None:
    """Le, Jaitly and Hinton 2015: before it is trained, a state is what all steps add up to."""
    settings = {"cell": "rnn", "initializer": "identity", "activation": "relu", "hidden_units": 3}
    model = network.build(Settings.of(settings), height=4, width=2, classes=2)
    w, u, b, v, c = model.get_weights()
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 2)).astype(np.float32)
    h = np.zeros(3)
    for x in image[0] / 255:
        h = np.maximum(0, x @ w + h + b)
    expected = np.exp(h @ v + c) / np.exp(h @ v + c).sum()

    network.save(model, tmp_path)

    np.testing.assert_array_equal(u, np.eye(3))
    np.testing.assert_allclose(model(image).numpy()[0], expected, rtol=1e-5)
    classify = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(classify(pixels=image)["probabilities"].numpy()[0], expected, rtol=1e-5)


def test_the_model_of_the_accurate_recipe_holds_no_augmentation_and_leaves_nothing_to_chance() -> None:
    model = network.build(recipes.resolve({"recipe": "accurate", "hidden_units": 3}), height=4, width=4, classes=2)
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4)).astype(np.float32)

    kinds = [type(layer).__name__ for layer in model.layers]
    assert ["InputLayer", "Rescaling", "Reshape", "GRU", "Dropout", "Dense", "Softmax"] == kinds
    np.testing.assert_array_equal(model(images), model(images))


def test_dropout_draws_no_other_weights() -> None:
    with_and_without = ({"dropout": rate, "hidden_units": 3, "layers": 2} for rate in (0.5, 0))
    with_it, without = (network.build(Settings.of(given), height=4, width=4, classes=2) for given in with_and_without)

    for expected, actual in zip(without.get_weights(), with_it.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mgu"])
def test_both_saved_forms_answer_as_the_model_does(tmp_path: Path, cell: str) -> None:
    kind = {"cell": cell, "hidden_units": 7, "layers": 2, "direction": "bidirectional", "dropout": 0.5}
    settings = Settings.of(kind | {"initializer": "identity"})
    model = network.build(settings, height=6, width=5, classes=4)
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5)).astype(np.float32)
    expected = model(images).numpy()

    network.save(model, tmp_path)

    classify = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(classify(pixels=images)["probabilities"].numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(images).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mgu"])
def test_a_network_of_many_steps_is_saved_too(tmp_path: Path, cell: str) -> None:
    """Its graph is a loop, whose gradients no file could hold."""
    settings = Settings.of({"cell": cell, "hidden_units": 7, "steps": 70, "order": "permuted"})
    model = network.build(settings, height=10, width=7, classes=4)
    images = np.random.default_rng(0).integers(0, 256, (3, 10, 7)).astype(np.float32)
    expected = model(images).numpy()

    network.save(model, tmp_path)

    signatures = tf.saved_model.load(str(tmp_path / "saved_model")).signatures
    answers = signatures["serving_default"](pixels=images)["probabilities"].numpy()
    by_step = signatures[network.BY_STEP](pixels=images)[network.BY_STEP].numpy()
    np.testing.assert_allclose(answers, expected, rtol=1e-5)
    np.testing.assert_allclose(by_step[:, -1], expected, rtol=1e-5)
    assert (3, 70, 4) == by_step.shape


def test_the_saved_mgu_is_a_gru_of_keras_with_the_gate_twice(tmp_path: Path) -> None:
    """So it opens without this project. By hand: r = f and z = 1 - f, of gates z, r, n."""
    model = network.build(Settings.of({"cell": "mgu", "hidden_units": 2}), height=3, width=4, classes=2)

    network.save(model, tmp_path)

    opened = keras.saving.load_model(tmp_path / "model.keras")
    assert ["InputLayer", "Rescaling", "Reshape", "GRU", "Dense", "Softmax"] == [
        type(layer).__name__ for layer in opened.layers
    ]
    kernel, stock = model.get_weights()[0], opened.get_weights()[0]
    np.testing.assert_array_equal(np.hstack([-kernel[:, :2], kernel[:, :2], kernel[:, 2:]]), stock)
