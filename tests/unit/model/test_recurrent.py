"""Outputs and gradients of the fast layers, compared with Keras's own."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.cells import CELLS as CELL_TABLE
from pipeline.model import recurrent
from pipeline.model.network import built_in
from tests.unit.model.test_trainer import assert_close

CELLS = [partial(built_in, cell) for cell in CELL_TABLE]


def built(layer: keras.layers.Layer, inputs: int, seed: int = 0) -> keras.layers.Layer:
    """Return a layer with random weights and random biases, which Keras starts at 0 or 1."""
    layer.build((None, None, inputs))
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(0, 0.4, weight.shape) for weight in layer.get_weights()])
    return layer


def outputs_and_gradients(function: Any, layers: list[keras.layers.Layer], x: Any) -> list[Any]:
    """Return the outputs (sequences have time first), then the gradients of x and all weights."""
    variables = [weight.value for layer in layers for weight in layer.trainable_weights]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def compute(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            # Each output has another weight, so outputs cannot be mixed up.
            cost = tf.reduce_sum(y * tf.cos(tf.reshape(tf.range(tf.size(y), dtype=tf.float32), tf.shape(y))))
        return [y, *tape.gradient(cost, [x, *variables])]

    return [np.asarray(result) for result in compute(x)]


def random_sequences(steps: int, batch: int, inputs: int) -> Any:
    return np.random.default_rng(1).normal(size=(steps, batch, inputs)).astype("float32")


def assert_equal_to_stock(layers: list[keras.layers.Layer], x: Any, lengths: Any = None) -> None:
    """Compare outputs and gradients; steps beyond the ``lengths`` are masked for the stock layers."""

    def stock(x: tf.Tensor) -> tf.Tensor:
        x = tf.transpose(x, (1, 0, 2))
        for layer in layers:
            x = layer(x, mask=None if lengths is None else tf.sequence_mask(lengths, x.shape[1]))
        return tf.transpose(x, (1, 0, 2)) if len(x.shape) == 3 else x

    def fast(x: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            x = recurrent.run(layer, x, lengths)
        return x

    of_both = (outputs_and_gradients(function, layers, tf.constant(x)) for function in (stock, fast))
    for expected, actual in zip(*of_both, strict=True):
        assert expected.shape == actual.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("both", "sequences"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("kind", CELLS)
def test_one_layer_equals_the_stock_layer(kind: Any, both: bool, sequences: bool) -> None:
    layer = kind(5, return_sequences=sequences)
    layer = keras.layers.Bidirectional(layer) if both else layer
    assert_equal_to_stock([built(layer, inputs=3)], random_sequences(6, 4, 3))


# More than 64 steps are a loop: one with a prime number of steps, which cannot have blocks, and one with blocks.
@pytest.mark.parametrize(("kind", "steps"), list(zip(CELLS, [96, 67, 70, 66], strict=True)))
def test_layers_on_top_of_each_other(kind: Any, steps: int) -> None:
    layers = [
        built(keras.layers.Bidirectional(kind(4, return_sequences=True)), 3),
        built(keras.layers.Bidirectional(kind(3)), 8),
    ]
    assert_equal_to_stock(layers, random_sequences(steps, 3, 3))


@pytest.mark.parametrize(
    ("kind", "depth", "both"),
    [(kind, 1, True) for kind in (*CELLS, partial(keras.layers.SimpleRNN, activation="relu"))] + [(CELLS[2], 2, False)],
)
def test_unequal_lengths_equal_the_stock_layers_under_a_mask(kind: Any, depth: int, both: bool) -> None:
    lengths, layers = np.array([3, 8, 1, 6, 5], np.int32), []
    for number in range(depth):
        layer = kind(4, return_sequences=number < depth - 1)
        inputs = 3 if number == 0 else 8 if both else 4
        layers.append(built(keras.layers.Bidirectional(layer) if both else layer, inputs))
    x = random_sequences(8, 5, 3) * (np.arange(8)[:, np.newaxis] < lengths)[..., np.newaxis]
    assert_equal_to_stock(layers, x, tf.constant(lengths))


def test_a_state_that_grows_over_padded_steps_leaves_gradients_finite() -> None:
    layer = built(keras.layers.SimpleRNN(2, activation="relu"), 1)
    layer.set_weights([np.ones((1, 2)), 2 * np.ones((2, 2)), np.ones(2)])  # each step quadruples the state
    lengths, x = tf.constant([3, 60]), np.zeros((100, 2, 1), np.float32)
    x[:3, 0] = 1
    results = outputs_and_gradients(lambda x: recurrent.run(layer, x, lengths)[:1], [layer], tf.constant(x))
    alone = outputs_and_gradients(lambda x: recurrent.run(layer, x), [layer], tf.constant(x[:3, :1]))
    np.testing.assert_allclose(results[0], alone[0], rtol=1e-6)
    assert_close(alone[2:], results[2:], rtol=1e-5, atol=0)
