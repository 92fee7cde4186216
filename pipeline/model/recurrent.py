"""Keras's recurrent layers, computed faster on a CPU, in training and in serving.

Shapes: B images in a batch, T steps, I inputs per step, U hidden units, G gates,
D directions. Time comes first throughout: a sequence is (T, B, ·).

The equations are in ``equations.py``; ``recurrence.py`` runs them over the steps, and back.

What makes them fast:

1. The projection x W + b of all steps is one matrix product per gate ahead of the steps. Four
   gates (LSTM) gain more if a step reads its input along with the state: the row [h_{t-1}, x_t, 1]
   times U on top of W on top of b leaves nothing to add.
2. Each gate has its own product in a step, so no tensor of a step is split into gates or concatenated
   from them; only the weights are, once per batch.
3. The backward pass is written by hand. A step back computes only what the step before it needs;
   the gradient of the weights that the steps read is one product per gate over all steps.
   Over more than 64 steps both passes are loops over blocks, and a block keeps no gradients except
   the sum for the weights, which saves traffic to memory.
4. TensorFlow runs independent operations in parallel, so a caller that splits a batch into shards
   uses as many cores (``trainer.py``).

Measurements: ``benchmarks/README.md``.
"""

import keras
import tensorflow as tf

from pipeline.cells import CELLS, Cell
from pipeline.model import mgu
from pipeline.model.equations import EQUATIONS, RELU_RNN
from pipeline.model.recurrence import recurrence_of


def layer_of(cell: Cell) -> type[keras.layers.RNN]:
    """Return the class of layer that holds the weights of a cell: Keras's own, except for the MGU."""
    layer: type[keras.layers.RNN] = mgu.MGU if cell == "mgu" else getattr(keras.layers, CELLS[cell].layer)
    return layer


_OF_LAYER = {layer_of(cell): equations for cell, equations in EQUATIONS.items()}


def logits(model: keras.Model, images: tf.Tensor, *, training: bool = False, backward: bool = True) -> tf.Tensor:
    """Return the input of the last layer of ``model``, the softmax, computed the fast way.

    Args:
        model: as ``network.build`` returns it, of a built-in cell. The variables are its own, so
            gradients reach them.
        images: (B, H, W), raw pixels.
        training: passed on to layers such as dropout.
        backward: whether gradients are needed. Those of a loop over many steps cannot be saved with a graph.

    Returns:
        Logits (B, C), float32.
    """
    layers, x = _start(model, images)
    for layer in layers:
        x = run(layer, x, backward=backward) if is_recurrent(layer) else layer(x, training=training)
    return x


def logits_by_step(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return the logits (B, T, C) that ``model`` would end with if reading ended after each step.

    See ``logits``; its recurrent layers must read forward only. Without gradients.
    """
    layers, x = _start(model, images)
    for layer in layers:
        recurs = is_recurrent(layer)
        x = _run(layer, x, backward=False, sequences=True) if recurs else layer(x, training=False)
    return tf.transpose(x, (1, 0, 2))


def _start(model: keras.Model, images: tf.Tensor) -> tuple[list[keras.layers.Layer], tf.Tensor]:
    """Return the layers of ``model`` from the first recurrent one to the logits, and their input (T, B, I)."""
    first = next(number for number, layer in enumerate(model.layers) if is_recurrent(layer))
    sequence = keras.Model(model.input, model.layers[first].input)(tf.cast(images, tf.float32))
    return model.layers[first:-1], tf.transpose(sequence, (1, 0, 2))


def is_recurrent(layer: keras.layers.Layer) -> bool:
    """Return whether ``layer`` is one that ``run`` computes."""
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def run(layer: keras.layers.Layer, x: tf.Tensor, *, backward: bool = True) -> tf.Tensor:
    """Return the output of ``layer`` for the sequence ``x``, with gradients to its weights and ``x`` if ``backward``.

    Args:
        layer: a built ``SimpleRNN``, ``LSTM``, ``GRU`` or ``MGU`` with Keras's default equations (the
            first may have relu), or a ``Bidirectional`` of one that concatenates.
        x: (T, B, I), float32; T and I known.
        backward: see ``logits``.

    Returns:
        (T, B, D·U) if the layer returns sequences, else its last output, (B, D·U).
    """
    if not isinstance(layer, keras.layers.Bidirectional):
        return _run(layer, x, backward=backward)
    outputs = _run(layer.forward_layer, x, backward=backward)
    return tf.concat([outputs, _run(layer.backward_layer, x, backward=backward, reverse=True)], -1)


def _run(
    layer: keras.layers.Layer, x: tf.Tensor, *, backward: bool, reverse: bool = False, sequences: bool | None = None
) -> tf.Tensor:
    """Return the output of a ``layer`` of one direction, in the order of x, also with ``reverse``.

    All steps if ``sequences``; by default if the layer returns them.
    """
    has_relu = isinstance(layer, keras.layers.SimpleRNN) and layer.activation is keras.activations.relu
    cell = RELU_RNN if has_relu else _OF_LAYER[type(layer)]
    w, u, b = (tf.convert_to_tensor(weight) for weight in layer.weights)
    sequences = layer.return_sequences if sequences is None else sequences
    recurrence = recurrence_of(cell, sequences=sequences, backward=backward)
    x = tf.reverse(x, [0]) if reverse else x
    if cell.joins:
        y = recurrence(tf.concat([x, tf.ones_like(x[..., :1])], -1), tf.concat([u, w, b[tf.newaxis]], 0))
    else:
        bias = tf.split(b, cell.gates, axis=-1)
        biases, recurrent_b = (bias, []) if len(b.shape) == 1 else _summed(bias)
        y = recurrence(x, u, *tf.split(w, cell.gates, axis=1), *biases, *recurrent_b)
    return tf.reverse(y, [0]) if reverse and sequences else y


def _summed(bias: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return b of each gate, and b' of the last; in the other gates both are only added, so b holds their sum."""
    *others, (last, recurrent_last) = [tf.unstack(gate) for gate in bias]
    return [*(own + recurrent for own, recurrent in others), last], [recurrent_last]
