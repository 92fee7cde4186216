"""Keras's recurrent layers for training on a CPU: the same functions, computed in less time.

Shapes: B images in a batch, T steps, I inputs per step, U hidden units, G gates
(1, 4 or 3), D directions. Time comes first throughout: a sequence is (T, B, ·).

The equations are those of Keras's own cells, gates in Keras's order; x_t is the
input of a step, h_t its output, ∘ the product of elements, σ the sigmoid:

    SimpleRNN   h_t = tanh(x_t W + b + h_{t-1} U)                     Elman 1990

    LSTM        i, f, g, o = x_t W + b + h_{t-1} U                    Hochreiter & Schmidhuber 1997,
                c_t = σ(f) ∘ c_{t-1} + σ(i) ∘ tanh(g)                 forget gate of Gers et al. 2000
                h_t = σ(o) ∘ tanh(c_t)

    GRU         z, r, n = x_t W + b;  z', r', n' = h_{t-1} U + b'     Cho et al. 2014, arXiv:1406.1078v1
                n̂ = tanh(n + σ(r + r') ∘ n')                          (reset after the product)
                h_t = σ(z + z') ∘ h_{t-1} + (1 - σ(z + z')) ∘ n̂

What makes them fast:

1. The projection x W + b of all steps is one matrix product ahead of the steps.
2. The backward pass is written by hand. A step back computes only what the step
   before it needs; the gradients of the weights are one product over all steps.
3. TensorFlow runs what does not depend on each other side by side, so a caller
   that cuts a batch into parts occupies as many cores (``training.py``).

A step is a function from the state before it and its inputs to the state after
it and what its step back will need; the step back is a function from the
gradient of the state after to that of the state before. ``_scan`` folds either
over time.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

UNROLLED_STEPS = 64
"""A sequence up to this long becomes one flat graph; a longer one a loop over blocks."""

BLOCK_STEPS = 32
"""At most this many steps are unrolled in the body of a loop: enough to hide its cost, quick to trace."""

Tensors = tuple[tf.Tensor, ...]
Step = Callable[[Tensors, Tensors], tuple[Tensors, Tensors]]

_sigmoid_gradient = tf.raw_ops.SigmoidGrad  # (y, dy) → dy ∘ y ∘ (1 - y) in one pass over memory
_tanh_gradient = tf.raw_ops.TanhGrad  # (y, dy) → dy ∘ (1 - y²)


class Cell(NamedTuple):
    """The equations of one kind of layer.

    Attributes:
        gates: G.
        states: tensors (B, U) that a step hands to the next, the output first.
        saved: tensors that ``forward`` saves for ``backward``, the state before the step first.
        forward: (state, projected inputs (B, G·U), U, b') → (state, saved).
        backward: (gradient of the state, saved, U) → (gradient of the state before, gradients of
            x W + b and of h U + b', both (B, G·U)).
    """

    gates: int
    states: int
    saved: int
    forward: Callable[..., tuple[Tensors, Tensors]]
    backward: Callable[..., tuple[Tensors, Tensors]]


def _rnn_forward(state: Tensors, xw: tf.Tensor, u: tf.Tensor) -> tuple[Tensors, Tensors]:
    (h,) = state
    new_h = tf.tanh(xw + h @ u)
    return (new_h,), (h, new_h)


def _rnn_backward(dstate: Tensors, saved: Tensors, u: tf.Tensor) -> tuple[Tensors, Tensors]:
    (dh,), (_, new_h) = dstate, saved
    dz = _tanh_gradient(y=new_h, dy=dh)
    return (tf.matmul(dz, u, transpose_b=True),), (dz, dz)


def _lstm_forward(state: Tensors, xw: tf.Tensor, u: tf.Tensor) -> tuple[Tensors, Tensors]:
    h, c = state
    i, f, g, o = tf.split(xw + h @ u, 4, axis=1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    new_c = f * c + i * g
    tanh_c = tf.tanh(new_c)
    return (o * tanh_c, new_c), (h, c, i, f, g, o, tanh_c)


def _lstm_backward(dstate: Tensors, saved: Tensors, u: tf.Tensor) -> tuple[Tensors, Tensors]:
    (dh, dc), (_, c, i, f, g, o, tanh_c) = dstate, saved
    dc += _tanh_gradient(y=tanh_c, dy=dh * o)
    dz = tf.concat(
        [
            _sigmoid_gradient(y=i, dy=dc * g),
            _sigmoid_gradient(y=f, dy=dc * c),
            _tanh_gradient(y=g, dy=dc * i),
            _sigmoid_gradient(y=o, dy=dh * tanh_c),
        ],
        axis=1,
    )
    return (tf.matmul(dz, u, transpose_b=True), dc * f), (dz, dz)


def _gru_forward(state: Tensors, xw: tf.Tensor, u: tf.Tensor, b: tf.Tensor) -> tuple[Tensors, Tensors]:
    (h,) = state
    units = u.shape[0]
    hu = tf.nn.bias_add(h @ u, b)
    zr, new_n = tf.sigmoid(xw[:, : 2 * units] + hu[:, : 2 * units]), hu[:, 2 * units :]
    z, r = tf.split(zr, 2, axis=1)
    n = tf.tanh(xw[:, 2 * units :] + r * new_n)
    return (n + z * (h - n),), (h, z, r, n, new_n)


def _gru_backward(dstate: Tensors, saved: Tensors, u: tf.Tensor) -> tuple[Tensors, Tensors]:
    (dh,), (h, z, r, n, new_n) = dstate, saved
    dz = _sigmoid_gradient(y=z, dy=dh * (h - n))
    dn = _tanh_gradient(y=n, dy=dh - dh * z)
    dr = _sigmoid_gradient(y=r, dy=dn * new_n)
    dhu = tf.concat([dz, dr, dn * r], axis=1)
    return (dh * z + tf.matmul(dhu, u, transpose_b=True),), (tf.concat([dz, dr, dn], axis=1), dhu)


CELLS: dict[type[keras.layers.RNN], Cell] = {
    keras.layers.SimpleRNN: Cell(1, 1, 2, _rnn_forward, _rnn_backward),
    keras.layers.LSTM: Cell(4, 2, 7, _lstm_forward, _lstm_backward),
    keras.layers.GRU: Cell(3, 1, 5, _gru_forward, _gru_backward),
}


def logits(model: keras.Model, images: tf.Tensor, *, training: bool = False) -> tf.Tensor:
    """Return what ``model`` hands to its last layer, the softmax, computed the fast way.

    Args:
        model: a chain of layers that ends in a softmax, as ``network.build`` gives it. The
            variables are its own, so gradients reach them.
        images: (B, H, W), raw pixels.
        training: what layers such as dropout are told.

    Returns:
        Logits (B, C), float32.
    """
    x, time_major = tf.cast(images, tf.float32), False
    for layer in model.layers[1:-1]:  # the first is the input, which computes nothing
        if is_recurrent(layer):
            x, time_major = run(layer, x if time_major else tf.transpose(x, (1, 0, 2))), True
        else:
            x = layer(x, training=training)
    return x


def is_recurrent(layer: keras.layers.Layer) -> bool:
    """Return whether ``layer`` is one of those that ``run`` is for."""
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def run(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Return what ``layer`` computes from the sequence ``x``, with gradients to its weights and ``x``.

    Args:
        layer: a built ``SimpleRNN``, ``LSTM`` or ``GRU`` with Keras's default equations, or a
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


def _run(layer: keras.layers.Layer, x: tf.Tensor, *, reverse: bool) -> tf.Tensor:
    """Return what a ``layer`` of one direction computes; an output stands at the step of x that it is read at."""
    _check(layer, reverse=reverse)
    w, u, bias = (tf.convert_to_tensor(weight) for weight in layer.weights)
    b, *recurrent_b = tf.unstack(bias) if len(bias.shape) > 1 else [bias]
    recurrence = _recurrence(CELLS[type(layer)], reverse=reverse, sequences=layer.return_sequences)
    return recurrence(_project(x, w, b), u, *recurrent_b)


def _project(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return x W + b for all steps: (T, B, I) → (T, B, G·U)."""
    rows = tf.nn.bias_add(tf.reshape(x, (-1, x.shape[2])) @ w, b)
    return tf.reshape(rows, (x.shape[0], -1, rows.shape[1]))


def _recurrence(cell: Cell, *, reverse: bool, sequences: bool) -> Callable[..., tf.Tensor]:
    """Return the function of a layer from its projected inputs on, with the backward pass of ``cell``.

    It takes x W + b of all steps (T, B, G·U), U (U, G·U) and, for a GRU, b' (G·U). It gives the outputs
    of all steps (T, B, U) if ``sequences``, else that of the last, (B, U). With ``reverse`` the last
    step is the first of x.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def recurrence(xw: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
        def forward(state: Tensors, inputs: Tensors) -> tuple[Tensors, Tensors]:
            state, saved = cell.forward(state, *inputs, *weights)
            return state, (state[0], *saved)

        zeros = tf.zeros_like(xw[0, :, : weights[0].shape[0]])
        state, (outputs, *saved) = _scan(forward, (zeros,) * cell.states, [xw], 1 + cell.saved, reverse=reverse)

        def gradient(dy: tf.Tensor) -> Tensors:
            def backward(dstate: Tensors, inputs: Tensors) -> tuple[Tensors, Tensors]:
                if sequences:
                    inputs, dh = inputs[:-1], inputs[-1]
                    dstate = (dstate[0] + dh, *dstate[1:])
                return cell.backward(dstate, inputs, weights[0])

            dend = (zeros if sequences else dy, *[zeros] * (cell.states - 1))
            _, (dxw, dhu) = _scan(backward, dend, [*saved, dy] if sequences else saved, 2, reverse=not reverse)
            du = tf.matmul(_rows(saved[0]), dhu := _rows(dhu), transpose_a=True)
            return tf.stack(dxw), du, *[tf.reduce_sum(dhu, axis=0) for _ in weights[1:]]

        return (tf.stack(outputs) if sequences else state[0]), gradient

    return recurrence  # type: ignore[no-any-return]


def _scan(
    step: Step, state: Tensors, inputs: Sequence[Any], outputs: int, *, reverse: bool
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
    return _looped(step, state, inputs, outputs, reverse=reverse)


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
    step: Step, state: Tensors, inputs: Sequence[tf.Tensor], outputs: int, *, reverse: bool
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
    if type(layer) not in CELLS:
        names = ", ".join(kind.__name__ for kind in CELLS)
        raise ValueError(f"{layer.name}: expected one of {names}, received {type(layer).__name__}.")
    options = inspect.signature(type(layer).__init__).parameters.values()
    expected = {option.name: option.default for option in options} | {"go_backwards": reverse, "dtype": "float32"}
    received = layer.get_config() | {"dtype": layer.compute_dtype}
    for name in sorted(expected.keys() & received.keys() - _FREE):
        if received[name] != expected[name]:
            raise ValueError(f"{layer.name}: expected {name}={expected[name]!r}, received {received[name]!r}.")
