"""Keras's recurrent layers, computed faster on a CPU, in training and in serving.

Shapes: B examples in a batch, T steps, I inputs per step, U hidden units, G gates,
D directions. Time comes first throughout: a sequence is (T, B, ·).

The equations are in ``equations.py``; ``recurrence.py`` runs them over the steps, and back.

What makes them fast:

1. The projection x W + b of all steps is one matrix product per gate, before the steps. Four
   gates (LSTM) gain more if a step reads its input along with the state: the row [h_{t-1}, x_t, 1]
   times U on top of W on top of b leaves nothing to be added.
2. Each gate has its own product in a step, so no tensor of a step is split into gates or concatenated
   from them; only the weights are, once per batch.
3. The backward pass is written by hand. A step back computes only what the step before it needs;
   the gradient of the weights that the steps read is one product per gate over all steps.
   Over more than 64 steps both passes are loops over blocks, and a block keeps no gradients except
   the sum for the weights, which saves traffic to memory.
4. Sequences of unequal lengths are padded at the end: the last output is the one at each length, and a backward layer
   reads each example reversed within its length. One loop over blocks serves every T, so a batch takes as many steps
   as its longest example.
5. TensorFlow runs independent operations in parallel, so a caller that splits a batch into shards
   uses as many cores (``trainer.py``).

Measurements: ``benchmarks/README.md``.
"""

import keras
import tensorflow as tf

from pipeline.cells import CELLS
from pipeline.model.equations import EQUATIONS, RELU_RNN, Equations
from pipeline.model.recurrence import PADDED_BLOCK_STEPS, recurrence_of

_OF_CELL = {f"{kind.layer}Cell": EQUATIONS[cell] for cell, kind in CELLS.items()}


def logits(
    model: keras.Model,
    inputs: tf.Tensor,
    lengths: tf.Tensor | None = None,
    *,
    training: bool = False,
    backward: bool = True,
    by_step: bool = False,
) -> tf.Tensor:
    """Return the input of the last layer of ``model``, the softmax, by the fast computation.

    Args:
        model: a model of a built-in cell from ``network.build``. Its own variables are used, so
            gradients reach them.
        inputs: a batch of inputs of the model.
        lengths: steps of each example, (B,), int32, if they are unequal; see ``run``.
        training: passed on to layers such as dropout.
        backward: whether gradients are needed. The gradients of a loop over many steps cannot be saved with a graph.
        by_step: return the final logits as if reading ended after each step; for a model that reads
            forward only.

    Returns:
        Logits (B, C), or (B, T, C) ``by_step``; float32.
    """
    first = next(number for number, layer in enumerate(model.layers) if is_recurrent(layer))
    steps, *_ = tf.nest.flatten(model.layers[first].input)  # for sequences, the mask follows
    sequence = keras.Model(model.input, steps)(tf.cast(inputs, tf.float32))
    x = tf.transpose(sequence, (1, 0, 2))
    for layer in model.layers[first:-1]:
        recurs = is_recurrent(layer)
        x = run(layer, x, lengths, backward=backward, sequences=by_step) if recurs else layer(x, training=training)
    return tf.transpose(x, (1, 0, 2)) if by_step else x


def is_recurrent(layer: keras.layers.Layer) -> bool:
    """Return whether ``run`` can compute ``layer``."""
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def run(
    layer: keras.layers.Layer,
    x: tf.Tensor,
    lengths: tf.Tensor | None = None,
    *,
    backward: bool = True,
    sequences: bool = False,
) -> tf.Tensor:
    """Return the output of ``layer`` for the sequence ``x``, with gradients to its weights and ``x`` if ``backward``.

    Args:
        layer: a built ``SimpleRNN``, ``LSTM``, ``GRU`` or ``MGU`` with Keras's default equations (the
            first may have relu), or a ``Bidirectional`` layer of one, with concatenated outputs.
        x: (T, B, I), float32; I known, and T unless there are ``lengths``.
        lengths: steps of each example, (B,), int32, at least 1; the rest of its T steps is padding, which may have
            any finite values. None: all T.
        backward: see ``logits``.
        sequences: return all outputs, even if the layer returns only its last one.

    Returns:
        (T, B, D·U) if the layer returns sequences, else its last output, (B, D·U). Outputs of padded steps are
        meaningless.
    """
    if not isinstance(layer, keras.layers.Bidirectional):
        return _run(layer, x, lengths, backward=backward, sequences=sequences or layer.return_sequences)
    outputs = run(layer.forward_layer, x, lengths, backward=backward)
    sequences = layer.forward_layer.return_sequences
    backwards = _run(layer.backward_layer, _reversed(x, lengths), lengths, backward=backward, sequences=sequences)
    return tf.concat([outputs, _reversed(backwards, lengths) if sequences else backwards], -1)


def _reversed(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """Return a sequence (T, B, n) that starts at the last step of each example; its padding stays at the end."""
    return tf.reverse(x, [0]) if lengths is None else tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)


def _run(
    layer: keras.layers.Layer, x: tf.Tensor, lengths: tf.Tensor | None, *, backward: bool, sequences: bool
) -> tf.Tensor:
    """Return the output of a unidirectional ``layer`` that reads x from its first step to its last."""
    has_relu = isinstance(layer, keras.layers.SimpleRNN) and layer.activation is keras.activations.relu
    cell = RELU_RNN if has_relu else _OF_CELL[type(layer.cell).__name__]
    arguments = _arguments(cell, x, *layer.weights)
    if lengths is None:
        return recurrence_of(cell, sequences=sequences, backward=backward)(*arguments)
    steps, (padded, *weights) = tf.shape(x)[0], arguments
    padded = tf.pad(padded, ((0, -steps % PADDED_BLOCK_STEPS), (0, 0), (0, 0)))
    outputs = recurrence_of(cell, sequences=True, backward=backward, lengths=lengths)(padded, *weights)
    if sequences:
        return outputs[:steps]
    return tf.gather_nd(outputs, tf.stack([lengths - 1, tf.range(tf.size(lengths))], 1))


def _arguments(
    cell: Equations, x: tf.Tensor, w: keras.Variable, u: keras.Variable, b: keras.Variable
) -> list[tf.Tensor]:
    """Return the arguments of a cell's recurrence: the inputs of its steps and the weights of its gates."""
    w, u, b = (tf.convert_to_tensor(weight) for weight in (w, u, b))
    if cell.joins:
        return [tf.concat([x, tf.ones_like(x[..., :1])], -1), tf.concat([u, w, b[tf.newaxis]], 0)]
    gates, bias = tf.split(w, cell.gates, axis=1), tf.split(b, cell.gates, axis=-1)
    if len(b.shape) == 1:
        return [x, u, *gates, *bias]
    # If there are two biases per gate, the last gate keeps both, b and b'; for other gates only their sum matters.
    *others, (last, recurrent_last) = [tf.unstack(gate) for gate in bias]
    return [x, u, *gates, *(own + recurrent for own, recurrent in others), last, recurrent_last]
