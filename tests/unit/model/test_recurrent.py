"""The fast layers against Keras's own, and one case against a computation by hand."""

from functools import partial
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.cells import CELLS as CELL_TABLE
from pipeline.cells import Cell
from pipeline.kinds.images import Images
from pipeline.model import equations, network, recurrence, recurrent
from pipeline.settings import Settings

CELLS = [partial(recurrent.layer, cell) for cell in CELL_TABLE]


def built(layer: keras.layers.Layer, inputs: int, seed: int = 0) -> keras.layers.Layer:
    """A layer with random weights, biases among them, which Keras starts at 0 or 1."""
    layer.build((None, None, inputs))
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(0, 0.4, weight.shape) for weight in layer.get_weights()])
    return layer


def outputs_and_gradients(function: Any, layers: list[keras.layers.Layer], x: Any) -> list[Any]:
    """The outputs (time first, where they are sequences), then the gradients of x and all weights."""
    variables = [weight.value for layer in layers for weight in layer.trainable_weights]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def compute(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            # Each output weighs differently, so that none can stand for another.
            cost = tf.reduce_sum(y * tf.cos(tf.reshape(tf.range(tf.size(y), dtype=tf.float32), tf.shape(y))))
        return [y, *tape.gradient(cost, [x, *variables])]

    return [np.asarray(result) for result in compute(x)]


def assert_equal_to_stock(layers: list[keras.layers.Layer], shape: tuple[int, int, int]) -> None:
    steps, batch, inputs = shape
    x = tf.constant(np.random.default_rng(1).normal(size=(steps, batch, inputs)), tf.float32)

    def stock(x: tf.Tensor) -> tf.Tensor:
        x = tf.transpose(x, (1, 0, 2))
        for layer in layers:
            x = layer(x)
        return tf.transpose(x, (1, 0, 2)) if len(x.shape) == 3 else x

    def fast(x: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            x = recurrent.run(layer, x)
        return x

    expected = outputs_and_gradients(stock, layers, x)
    actual = outputs_and_gradients(fast, layers, x)
    for stock_value, fast_value in zip(expected, actual, strict=True):
        assert stock_value.shape == fast_value.shape
        np.testing.assert_allclose(fast_value, stock_value, rtol=1e-4, atol=1e-5 * np.abs(stock_value).max())


@pytest.mark.parametrize(("both", "sequences"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("kind", CELLS)
def test_one_layer_equals_the_stock_layer(kind: Any, both: bool, sequences: bool) -> None:
    layer = kind(5, return_sequences=sequences)
    layer = keras.layers.Bidirectional(layer) if both else layer
    assert_equal_to_stock([built(layer, inputs=3)], shape=(6, 4, 3))


@pytest.mark.parametrize("steps", [6, 66])
@pytest.mark.parametrize("both", [False, True])
def test_relu_in_place_of_tanh(both: bool, steps: int) -> None:
    layer = keras.layers.SimpleRNN(5, activation="relu", return_sequences=True)
    layer = keras.layers.Bidirectional(layer) if both else layer
    layer = built(layer, inputs=3)
    layer.set_weights([0.5 * weight for weight in layer.get_weights()])
    assert_equal_to_stock([layer], shape=(steps, 4, 3))


@pytest.mark.parametrize("kind", CELLS)
def test_layers_on_top_of_each_other(kind: Any) -> None:
    layers = [
        built(kind(7, return_sequences=True), 3),
        built(keras.layers.Bidirectional(kind(4, return_sequences=True)), 7),
        built(keras.layers.Bidirectional(kind(3)), 8),
    ]
    assert_equal_to_stock(layers, shape=(5, 6, 3))


# A prime, which has no blocks of more than one step, and numbers that fall into blocks.
@pytest.mark.parametrize(("kind", "steps"), list(zip(CELLS, [96, 67, 70, 66], strict=True)))
def test_long_sequences_go_through_the_loop(kind: Any, steps: int) -> None:
    assert steps > recurrence.UNROLLED_STEPS
    layers = [built(keras.layers.Bidirectional(kind(4, return_sequences=True)), 2), built(kind(3), 8)]
    assert_equal_to_stock(layers, shape=(steps, 3, 2))


@pytest.mark.parametrize(("layers", "direction"), [(1, "forward"), (2, "bidirectional")])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mgu"])
def test_logits_are_those_of_the_model(cell: Any, layers: int, direction: Any) -> None:
    settings = Settings(cell=cell, hidden_units=6, layers=layers, direction=direction)
    model = network.build(settings, Images(height=8, width=4), classes=3)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 4), dtype=np.uint8)
    actual = tf.nn.softmax(recurrent.logits(model, tf.constant(images)))
    np.testing.assert_allclose(actual, model(images.astype("float32")), rtol=1e-5, atol=1e-6)


def test_the_size_of_a_batch_may_be_open() -> None:
    layer = built(keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True)), 2)
    run = tf.function(lambda x: recurrent.run(layer, x), input_signature=[tf.TensorSpec((3, None, 2))], autograph=False)
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(3, batch, 2)).astype("float32")
        expected = np.asarray(layer(x.transpose(1, 0, 2))).transpose(1, 0, 2)
        np.testing.assert_allclose(run(x), expected, rtol=1e-5, atol=1e-6)


LENGTHS = np.array([5, 20, 1, 13, 8], np.int32)


def padded(lengths: Any, inputs: int) -> Any:
    """Sequences of these lengths, padded with zeros at the end, (T, B, I)."""
    x = np.random.default_rng(1).normal(size=(max(lengths), len(lengths), inputs)).astype("float32")
    return x * (np.arange(max(lengths))[:, np.newaxis] < lengths)[..., np.newaxis]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", [*CELLS, partial(keras.layers.SimpleRNN, activation="relu")])
def test_unequal_lengths_equal_the_stock_layers_under_a_mask(kind: Any, depth: int, both: bool) -> None:
    layers, inputs = [], 3
    for above in reversed(range(depth)):
        layer = kind(4, return_sequences=above > 0)
        layers.append(built(keras.layers.Bidirectional(layer) if both else layer, inputs))
        inputs = 8 if both else 4

    def stock(x: tf.Tensor) -> tf.Tensor:
        x, mask = tf.transpose(x, (1, 0, 2)), tf.sequence_mask(LENGTHS, max(LENGTHS))
        for layer in layers:
            x = layer(x, mask=mask)
        return x

    def fast(x: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            x = recurrent.run(layer, x, tf.constant(LENGTHS))
        return x

    x = tf.constant(padded(LENGTHS, 3))
    of_both = (outputs_and_gradients(function, layers, x) for function in (stock, fast))
    for expected, actual in zip(*of_both, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", [*CELLS, partial(keras.layers.SimpleRNN, activation="relu")])
def test_padding_changes_no_output_at_any_step(kind: Any) -> None:
    layer = built(keras.layers.Bidirectional(kind(4, return_sequences=True)), 3)
    x = padded(LENGTHS, 3)
    signature = [tf.TensorSpec((None, None, 3)), tf.TensorSpec((None,), tf.int32)]
    run = tf.function(partial(recurrent.run, layer, backward=False), input_signature=signature, autograph=False)
    for extra in (0, 11):
        outputs = run(np.pad(x, ((0, extra), (0, 0), (0, 0))), LENGTHS)
        assert outputs.shape[0] == len(x) + extra
        for number, length in enumerate(LENGTHS):
            alone = np.asarray(layer(x[np.newaxis, :length, number]))[0]
            np.testing.assert_allclose(outputs[:length, number], alone, rtol=1e-5, atol=1e-6)


def test_a_growing_state_of_padded_steps_spoils_no_gradient() -> None:
    layer = built(keras.layers.SimpleRNN(2, activation="relu"), 1)
    layer.set_weights([np.ones((1, 2)), 2 * np.ones((2, 2)), np.ones(2)])  # each step quadruples the state
    lengths, x = tf.constant([3, 60]), np.zeros((100, 2, 1), np.float32)
    x[:3, 0] = 1
    results = outputs_and_gradients(lambda x: recurrent.run(layer, x, lengths)[:1], [layer], tf.constant(x))
    alone = outputs_and_gradients(lambda x: recurrent.run(layer, x), [layer], tf.constant(x[:3, :1]))
    np.testing.assert_allclose(results[0], alone[0], rtol=1e-6)
    for of_weight, expected in zip(results[2:], alone[2:], strict=True):
        np.testing.assert_allclose(of_weight, expected, rtol=1e-5)


def test_every_cell_has_its_equations() -> None:
    assert set(get_args(Cell)) == set(CELL_TABLE) == set(equations.EQUATIONS)
