"""Keras's recurrent layers, trained on a CPU and served: the same functions, computed in less time.

Shapes: B images in a batch, T steps, I inputs per step, U hidden units, G gates,
D directions. Time comes first throughout: a sequence is (T, B, ·).

The equations are in ``equations.py``; ``recurrence.py`` runs them over the steps, and back.

What makes them fast:

1. The projection x W + b of all steps is one matrix product per gate ahead of the steps. Four
   gates (LSTM) gain more if a step reads its input along with the state: the row [h_{t-1}, x_t, 1]
   times U on top of W on top of b leaves nothing to add.
2. Each gate has its own product in a step, so nothing of a step is cut into gates or put together
   from them; only the weights are, once per batch.
3. The backward pass is written by hand. A step back computes only what the step before it needs;
   the gradient of the weights that the steps read is one product per gate over all steps.
   Over more than 64 steps both passes are loops over blocks, and of a block no gradient is kept
   but the sum for the weights: what does not go through memory takes no time there.
4. TensorFlow runs operations side by side that do not depend on each other, so a caller that cuts
   a batch into parts occupies as many cores (``trainer.py``).

What was measured is in ``benchmarks/README.md``.
"""

import inspect

import keras
import tensorflow as tf

from pipeline.cells import CELLS
from pipeline.model import mgu
from pipeline.model.equations import EQUATIONS, RECTIFIED
from pipeline.model.recurrence import recurrence_of

_OURS = {layer.__name__: layer for layer in (mgu.MGU,)}
"""The layers that Keras lacks, by their names in the table of cells."""


def layer_of(cell: str) -> type[keras.layers.RNN]:
    """Return the layer that holds the weights of a cell: Keras's own, where it has one."""
    name = next(kind.layer for known, kind in CELLS.items() if known == cell)
    layer: type[keras.layers.RNN] = _OURS.get(name) or getattr(keras.layers, name)
    return layer


_OF_LAYER = {layer_of(cell): equations for cell, equations in EQUATIONS.items()}


def logits(model: keras.Model, images: tf.Tensor, *, training: bool = False, backward: bool = True) -> tf.Tensor:
    """Return what ``model`` hands to its last layer, the softmax, computed the fast way.

    Args:
        model: a chain of layers that ends in a softmax, as ``network.build`` gives it. The
            variables are its own, so gradients reach them.
        images: (B, H, W), raw pixels.
        training: what layers such as dropout are told.
        backward: whether gradients are to come back. Those of a loop over many steps cannot be saved with a graph.

    Returns:
        Logits (B, C), float32.

    Raises:
        ValueError: the model computes something outside its layers, or a recurrent layer anything but the equations.
    """
    layers, x = _opening(model, images)
    for layer in layers:
        x = run(layer, x, backward=backward) if is_recurrent(layer) else layer(x, training=training)
    return x


def logits_by_step(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return the logits (B, T, C) that ``model`` would end with if reading ended after each step.

    See ``logits``; its recurrent layers read forward only, and no gradients come back.
    """
    layers, x = _opening(model, images)
    for layer in layers:
        recurs = is_recurrent(layer)
        x = _run(layer, x, backward=False, sequences=True) if recurs else layer(x, training=False)
    return tf.transpose(x, (1, 0, 2))


def _opening(model: keras.Model, images: tf.Tensor) -> tuple[list[keras.layers.Layer], tf.Tensor]:
    """Return the layers of ``model`` from the first recurrent one to the logits, and what that reads, (T, B, I)."""
    _check_chain(model)
    first = next(number for number, layer in enumerate(model.layers) if is_recurrent(layer))
    sequence = keras.Model(model.input, model.layers[first].input)(tf.cast(images, tf.float32))
    return model.layers[first:-1], tf.transpose(sequence, (1, 0, 2))


def _check_chain(model: keras.Model) -> None:
    """Raise a ValueError if the model has operations that are no layers, but the one that puts pixels in order.

    After the first recurrent layer they would be left out; it stands before.
    """
    operations = [each for each in model.operations if type(each).__name__ != "Take"]
    if others := [operation.name for operation in operations if operation not in model.layers]:
        raise ValueError(f"{model.name}: expected layers alone, received the operations {', '.join(others)}, too.")


def is_recurrent(layer: keras.layers.Layer) -> bool:
    """Return whether ``layer`` is one of those that ``run`` is for."""
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def run(layer: keras.layers.Layer, x: tf.Tensor, *, backward: bool = True) -> tf.Tensor:
    """Return what ``layer`` computes from the sequence ``x``, with gradients to its weights and ``x`` if ``backward``.

    Args:
        layer: a built ``SimpleRNN``, ``LSTM``, ``GRU`` or ``MGU`` with Keras's default equations, or a
            ``Bidirectional`` of one that concatenates.
        x: (T, B, I), float32; T and I known.
        backward: see ``logits``.

    Returns:
        (T, B, D·U) where the layer returns sequences, else its last output, (B, D·U).

    Raises:
        ValueError: the layer computes anything else than Keras's default equations.
    """
    if not isinstance(layer, keras.layers.Bidirectional):
        return _run(layer, x, backward=backward)
    if layer.merge_mode != "concat":
        raise ValueError(f"{layer.name}: expected merge_mode='concat', received {layer.merge_mode!r}.")
    to, fro = layer.forward_layer, layer.backward_layer
    return tf.concat([_run(to, x, backward=backward), _run(fro, x, backward=backward, reverse=True)], -1)


def _run(
    layer: keras.layers.Layer, x: tf.Tensor, *, backward: bool, reverse: bool = False, sequences: bool | None = None
) -> tf.Tensor:
    """Return what a ``layer`` of one direction computes; outputs are in the order of x, also with ``reverse``.

    Those of all steps if ``sequences``; by default if the layer returns them.
    """
    _check(layer, reverse=reverse)
    cell = RECTIFIED if _is_rectified(layer) else _OF_LAYER[type(layer)]
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


def _is_rectified(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.SimpleRNN) and layer.activation is keras.activations.relu


def _summed(bias: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return b of each gate, and b' of the last: to the others both are only ever added, so b holds their sum."""
    *others, (last, recurrent_last) = [tf.unstack(gate) for gate in bias]
    return [*(own + recurrent for own, recurrent in others), last], [recurrent_last]


# What a layer may set without changing the function it computes.
_FREE = {"units", "return_sequences", "unroll", "use_cudnn", "unit_forget_bias", "seed"}
_FREE |= {"kernel_initializer", "recurrent_initializer", "bias_initializer"}


def _check(layer: keras.layers.Layer, *, reverse: bool) -> None:
    """Raise a ValueError unless ``layer`` computes what ``equations.py`` does in float32, in the direction given."""
    if type(layer) not in _OF_LAYER:
        names = ", ".join(kind.__name__ for kind in _OF_LAYER)
        raise ValueError(f"{layer.name}: expected one of {names}, received {type(layer).__name__}.")
    options = inspect.signature(type(layer).__init__).parameters.values()
    expected = {option.name: option.default for option in options} | {"go_backwards": reverse, "dtype": "float32"}
    received = layer.get_config() | {"dtype": layer.compute_dtype}
    free = _FREE | {"activation"} if _is_rectified(layer) else _FREE
    for name in sorted(expected.keys() & received.keys() - free):
        if received[name] != expected[name]:
            raise ValueError(f"{layer.name}: expected {name}={expected[name]!r}, received {received[name]!r}.")
