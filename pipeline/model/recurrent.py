"""Keras's recurrent layers, trained on a CPU and served: the same functions, computed in less time.

Shapes: B images in a batch, T steps, I inputs per step, U hidden units, G gates,
D directions. Time comes first throughout: a sequence is (T, B, ·).

The equations are in ``equations.py``.

What makes them fast:

1. The projection x W + b of all steps is one matrix product per gate ahead of the steps. Four
   gates (LSTM) gain more if a step reads its input along with the state: the row [h_{t-1}, x_t, 1]
   times U on top of W on top of b leaves nothing to add.
2. Each gate has its own product in a step, so nothing of a step is cut into gates or put together
   from them; only the weights are, once per batch.
3. The backward pass is written by hand. A step back computes only what the step before it needs;
   the gradient of the weights that the steps read is one product per gate over all steps.
4. TensorFlow runs operations side by side that do not depend on each other, so a caller that cuts
   a batch into parts occupies as many cores (``training.py``).

What was measured is in ``benchmarks/README.md``.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.cells import CELLS
from pipeline.model import mgu
from pipeline.model.equations import EQUATIONS, RECTIFIED, Equations, Tensors

UNROLLED_STEPS = 64
"""A sequence up to this long becomes one flat graph; a longer one a loop over blocks."""

BLOCK_STEPS = 32
"""At most this many steps are unrolled in the body of a loop: enough to hide its cost, quick to trace."""

Step = Callable[[Tensors, Tensors], tuple[Tensors, Tensors]]


def layer_of(cell: str) -> type[keras.layers.RNN]:
    """Return the layer that holds the weights of a cell: Keras's own, where it has one."""
    name = next(kind.layer for known, kind in CELLS.items() if known == cell)
    layer: type[keras.layers.RNN] = getattr(keras.layers, name, mgu.MGU)
    return layer


_OF_LAYER = {layer_of(cell): equations for cell, equations in EQUATIONS.items()}


def logits(model: keras.Model, images: tf.Tensor, *, training: bool = False) -> tf.Tensor:
    """Return what ``model`` hands to its last layer, the softmax, computed the fast way.

    Args:
        model: a chain of layers that ends in a softmax, as ``network.build`` gives it. The
            variables are its own, so gradients reach them.
        images: (B, H, W), raw pixels.
        training: what layers such as dropout are told.

    Returns:
        Logits (B, C), float32.

    Raises:
        ValueError: the model computes something outside its layers, or a recurrent layer anything but the equations.
    """
    layers, x = _opening(model, images)
    for layer in layers:
        x = run(layer, x) if is_recurrent(layer) else layer(x, training=training)
    return x


def logits_by_step(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return the logits (B, T, C) that ``model`` would end with if reading ended after each step.

    See ``logits``; its recurrent layers read forward only.
    """
    layers, x = _opening(model, images)
    for layer in layers:
        x = _run(layer, x, reverse=False, sequences=True) if is_recurrent(layer) else layer(x, training=False)
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


def run(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Return what ``layer`` computes from the sequence ``x``, with gradients to its weights and ``x``.

    Args:
        layer: a built ``SimpleRNN``, ``LSTM``, ``GRU`` or ``MGU`` with Keras's default equations, or a
            ``Bidirectional`` of one that concatenates.
        x: (T, B, I), float32; T and I known.

    Returns:
        (T, B, D·U) where the layer returns sequences, else its last output, (B, D·U).

    Raises:
        ValueError: the layer computes anything else than Keras's default equations.
    """
    if not isinstance(layer, keras.layers.Bidirectional):
        return _run(layer, x, reverse=False)
    if layer.merge_mode != "concat":
        raise ValueError(f"{layer.name}: expected merge_mode='concat', received {layer.merge_mode!r}.")
    return tf.concat([_run(layer.forward_layer, x, reverse=False), _run(layer.backward_layer, x, reverse=True)], -1)


def _run(layer: keras.layers.Layer, x: tf.Tensor, *, reverse: bool, sequences: bool | None = None) -> tf.Tensor:
    """Return what a ``layer`` of one direction computes; outputs are in the order of x, also with ``reverse``.

    Those of all steps if ``sequences``; by default if the layer returns them.
    """
    _check(layer, reverse=reverse)
    cell = RECTIFIED if _is_rectified(layer) else _OF_LAYER[type(layer)]
    w, u, b = (tf.convert_to_tensor(weight) for weight in layer.weights)
    sequences = layer.return_sequences if sequences is None else sequences
    recurrence = _recurrence(cell, reverse=reverse, sequences=sequences)
    if cell.joins:
        return recurrence(tf.concat([u, w, b[tf.newaxis]], 0), tf.concat([x, tf.ones_like(x[..., :1])], -1))
    bias = tf.split(b, cell.gates, axis=-1)
    biases, recurrent_b = (bias, []) if len(b.shape) == 1 else _summed(bias)
    xw = [_project(x, *gate) for gate in zip(tf.split(w, cell.gates, axis=1), biases, strict=True)]
    return recurrence(u, *xw, *recurrent_b)


def _is_rectified(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.SimpleRNN) and layer.activation is keras.activations.relu


def _summed(bias: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return b of each gate, and b' of the last: to the others both are only ever added, so b holds their sum."""
    *others, (last, recurrent_last) = [tf.unstack(gate) for gate in bias]
    return [*(own + recurrent for own, recurrent in others), last], [recurrent_last]


def _project(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return x W + b of one gate for all steps: (T, B, I) → (T, B, U)."""
    rows = tf.nn.bias_add(tf.reshape(x, (-1, x.shape[2])) @ w, b)
    return tf.reshape(rows, (x.shape[0], -1, rows.shape[1]))


def _recurrence(cell: Equations, *, reverse: bool, sequences: bool) -> Callable[..., tf.Tensor]:
    """Return the function of a layer from its weights and inputs on, with the backward pass of ``cell``.

    It takes weights, (U, G·U), and x W + b of all steps (T, B, U) for each gate, then b' (U) of the
    last gate if it has one; or, where a step ``joins``, U on top of W on top of b, (U + I + 1, G·U),
    and the inputs with a one behind each, (T, B, I + 1). It gives the outputs of all steps
    (T, B, U) if ``sequences``, else that of the last, (B, U). With ``reverse`` the last step of x is
    read first.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def recurrence(weights: tf.Tensor, *arguments: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
        inputs = 1 if cell.joins else cell.gates
        x, b = arguments[:inputs], arguments[inputs:]
        last, (outputs, *saved) = _forward(cell, weights, x, b, reverse=reverse)

        def gradient(dy: tf.Tensor) -> Tensors:
            dweights, dproducts, dx = _backward(cell, dy, saved, weights, reverse=reverse, sequences=sequences)
            return dweights, *dx, *[tf.reduce_sum(dproducts[-1], axis=(0, 1)) for _ in b]

        return (tf.stack(outputs) if sequences else last), gradient

    return recurrence  # type: ignore[no-any-return]


def _forward(
    cell: Equations, weights: tf.Tensor, x: Tensors, b: Tensors, *, reverse: bool
) -> tuple[tf.Tensor, list[Any]]:
    """Return the last output, and as sequences all outputs, what each step read, and what ``cell`` saves."""
    units = weights.shape[1] // cell.gates
    zeros = tf.zeros((tf.shape(x[0])[1], units))
    gates = tf.split(weights, cell.gates, axis=1)

    def step(state: Tensors, x: Tensors) -> tuple[Tensors, Tensors]:
        read = tf.concat([state[0], *x], 1) if cell.joins else state[0]
        if state[0] is not zeros:
            products = [read @ gate for gate in gates]
        else:  # spares a flat graph the products with the state of its first step
            products = [x[0] @ gate[units:] for gate in gates] if cell.joins else [zeros] * cell.gates
        state, saved = cell.forward(state, products, *(() if cell.joins else x), *b)
        return state, (state[0], read, *saved)

    state, sequences = _scan(step, (zeros,) * cell.states, x, outputs=2 + cell.saved, reverse=reverse)
    return state[0], sequences


def _backward(
    cell: Equations, dy: tf.Tensor, saved: list[Any], weights: tf.Tensor, *, reverse: bool, sequences: bool
) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
    """Return the gradients of the weights, of the products of each gate, (T, B, U), and of the inputs x.

    Args:
        cell: the equations.
        dy: gradient of all outputs (T, B, U) if ``sequences``, else of the last, (B, U).
        saved: by the forward pass: what each step read, then what ``cell`` saves.
        weights: see ``_recurrence``.
        reverse: as in the forward pass.
        sequences: see ``dy``.
    """
    read, *inputs = saved
    units = weights.shape[1] // cell.gates
    zeros = tf.zeros_like(dy[0] if sequences else dy)
    # Transposed once for all steps. A bare transpose would be put back into each product, which it slows down.
    transposed = tf.split(tf.transpose(weights[:units]), cell.gates, axis=0)

    def step(dstate: Tensors, inputs: Tensors) -> tuple[Tensors, Tensors]:
        saved, dh = inputs[: cell.saved], inputs[cell.saved :]
        (direct, *others), dproducts, dx = cell.backward((tf.add_n([dstate[0], *dh]), *dstate[1:]), saved)
        terms = [gate @ ut for gate, ut in zip(dproducts, transposed, strict=True)]
        return (tf.add_n(terms if direct is None else [direct, *terms]), *others), (*dproducts, *dx)

    end = (zeros if sequences else dy, *[zeros] * (cell.states - 1))
    inputs = [*inputs, dy] if sequences else inputs
    outputs = cell.gates + cell.own_dx
    gradients = [tf.stack(x) for x in _scan(step, end, inputs, outputs=outputs, reverse=not reverse)[1]]
    dproducts, dx = gradients[: cell.gates], gradients[cell.gates :]
    rows = _rows(read)
    dweights = tf.concat([tf.matmul(rows, _rows(gate), transpose_a=True) for gate in dproducts], 1)
    if cell.joins:
        w = tf.split(weights[units:], cell.gates, axis=1)
        terms = [tf.matmul(gate, part, transpose_b=True) for gate, part in zip(dproducts, w, strict=True)]
        return dweights, dproducts, [tf.add_n(terms)]
    return dweights, dproducts, dproducts[: cell.gates - cell.own_dx] + dx


def _scan(
    step: Step, state: Tensors, inputs: Sequence[Any], *, outputs: int, reverse: bool
) -> tuple[Tensors, list[Any]]:
    """Fold ``step`` over time.

    Args:
        step: (state, inputs of a step) → (state, outputs of a step); all are tuples of (B, ·).
        state: the state before the first step.
        inputs: sequences, each a tensor (T, B, ·) or a list of T tensors (B, ·).
        outputs: how many tensors ``step`` puts out.
        reverse: fold from the last step to the first.

    Returns:
        The state after all steps, and the outputs as sequences in the order of the inputs.
    """
    steps = len(inputs[0]) if isinstance(inputs[0], list) else inputs[0].shape[0]
    if steps <= UNROLLED_STEPS:
        return _unrolled(step, state, inputs, reverse=reverse)
    return _looped(step, state, inputs, outputs=outputs, reverse=reverse)


def _unrolled(step: Step, state: Tensors, inputs: Sequence[Any], *, reverse: bool) -> tuple[Tensors, list[Any]]:
    """Scan as a flat graph. A sequence of outputs is a list of T tensors, so that nothing is copied."""
    steps = list(zip(*(x if isinstance(x, list) else tf.unstack(x) for x in inputs), strict=True))
    outputs = []
    for at in reversed(steps) if reverse else steps:
        state, output = step(state, at)
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return state, [list(sequence) for sequence in zip(*outputs, strict=True)]


def _looped(
    step: Step, state: Tensors, inputs: Sequence[tf.Tensor], *, outputs: int, reverse: bool
) -> tuple[Tensors, list[Any]]:
    """Scan as a loop over blocks of unrolled steps. A sequence of outputs is a tensor (T, B, ·)."""
    steps = inputs[0].shape[0]
    block = max(size for size in range(1, BLOCK_STEPS + 1) if steps % size == 0)
    count = steps // block
    blocks = [tf.reshape(x, (count, block, -1, x.shape[2])) for x in inputs]

    def body(number: tf.Tensor, state: Tensors, arrays: list[tf.TensorArray]) -> tuple[Any, ...]:
        at = count - 1 - number if reverse else number
        state, sequences = _unrolled(step, state, [x[at] for x in blocks], reverse=reverse)
        return number + 1, state, [a.write(at, tf.stack(x)) for a, x in zip(arrays, sequences, strict=True)]

    arrays = [tf.TensorArray(tf.float32, size=count) for _ in range(outputs)]
    _, state, arrays = tf.while_loop(lambda number, *_: number < count, body, (0, state, arrays))
    return state, [tf.reshape(stacked := array.stack(), (steps, -1, stacked.shape[3])) for array in arrays]


def _rows(sequence: Any) -> tf.Tensor:
    """Return a sequence (T, B, n), or a list of its T steps, as one matrix (T·B, n)."""
    return tf.concat(sequence, 0) if isinstance(sequence, list) else tf.reshape(sequence, (-1, sequence.shape[2]))


# What a layer may set without changing the function it computes.
_FREE = {"units", "return_sequences", "unroll", "use_cudnn", "unit_forget_bias", "seed"}
_FREE |= {"kernel_initializer", "recurrent_initializer", "bias_initializer"}


def _check(layer: keras.layers.Layer, *, reverse: bool) -> None:
    """Raise a ValueError unless ``layer`` computes the equations above in float32, in the direction given."""
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
