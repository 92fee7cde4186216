"""Run a recurrent layer over the steps, as a flat graph or a loop, with its backward pass.

Shapes are named as in ``recurrent.py``, which explains the speed; t is a number of successive steps. A long sequence is
a loop over blocks of unrolled steps: enough of them to hide the cost of the loop, few enough to trace quickly.

Sequences of unequal lengths are padded with zeros at the end and always loop, so that one graph serves every T. A
padded step is computed like any other, but nothing reads its output, so its gradients are zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import tensorflow as tf

from pipeline.model.equations import Equations, Tensors

UNROLLED_STEPS = 64
"""A sequence up to this long becomes one flat graph; a longer one a loop over blocks."""

BLOCK_STEPS = 32
"""At most this many steps are unrolled in the body of a loop."""

PADDED_BLOCK_STEPS = 8
"""This many steps are unrolled if lengths are unequal; T is padded to a multiple of it."""


def recurrence_of(
    cell: Equations, *, sequences: bool, backward: bool, lengths: tf.Tensor | None = None
) -> Callable[..., tf.Tensor]:
    """Return the function of a layer from its inputs and weights to its outputs.

    The inputs are (T, B, I), the weights the arguments of ``_Weights.of``. The function returns the outputs of all
    steps (T, B, U) if ``sequences``, else the last one, (B, U), and has the backward pass of ``cell`` if ``backward``.
    With ``lengths`` (B,), which need ``sequences``, T is a multiple of ``PADDED_BLOCK_STEPS`` and may be unknown.
    """

    def recurrence(x: tf.Tensor, *arguments: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
        weights = _Weights.of(cell, arguments)
        if lengths is None and x.shape[0] <= UNROLLED_STEPS:
            return _unrolled(weights, x, sequences=sequences)
        return _looped(weights, x, sequences=sequences, lengths=lengths)

    if backward:
        return tf.custom_gradient(recurrence)  # type: ignore[no-any-return]
    return lambda x, *arguments: recurrence(x, *arguments)[0]


class _Weights(NamedTuple):
    """The weights of a layer, gate by gate.

    Attributes:
        cell: its equations.
        recurrent: factors of the state, (U, U); if a step ``joins``, U on top of W on top of b, (U + I + 1, U), because
            each input is followed by a one.
        transposed: the U of ``recurrent``, transposed once for all steps. TensorFlow would fuse a plain transpose into
            each product, which is slower.
        w: (I, U), none if a step joins.
        b: (U), none if a step joins.
        recurrent_b: b' (U) of the last gate, if it has one.
    """

    cell: Equations
    recurrent: list[tf.Tensor]
    transposed: list[tf.Tensor]
    w: Tensors
    b: Tensors
    recurrent_b: Tensors

    @classmethod
    def of(cls, cell: Equations, arguments: Tensors) -> Self:
        """Return the weights from the arguments of a layer function: factors of the state, w, b, b'."""
        recurrent, *others = arguments
        gates, units = (0 if cell.joins else cell.gates), recurrent.shape[1] // cell.gates
        transposed = tf.split(tf.transpose(recurrent[:units]), cell.gates, axis=0)
        w, b, recurrent_b = others[:gates], others[gates : 2 * gates], others[2 * gates :]
        return cls(cell, tf.split(recurrent, cell.gates, axis=1), transposed, tuple(w), tuple(b), tuple(recurrent_b))

    @property
    def units(self) -> int:
        """U."""
        return int(self.recurrent[0].shape[1])

    def at_rest(self, x: tf.Tensor) -> Tensors:
        """Return the state before the first step of x (T, B, I)."""
        return (tf.zeros((tf.shape(x)[1], self.units)),) * self.cell.states

    def shaped_as_arguments(self) -> Tensors:
        """Return zeros in the shapes of the arguments of ``of``."""
        rows = self.recurrent[0].shape[0]
        return tf.zeros((rows, self.cell.gates * self.units)), *map(tf.zeros_like, self.w + self.b + self.recurrent_b)


class _Steps(NamedTuple):
    """Successive steps, with the tensors that their backward pass needs.

    Attributes:
        x: their inputs, (t, B, I).
        read: the factor of ``recurrent`` in each step.
        outputs: the output of each step, (B, U).
        saved: tensors saved by the cell: sequences with a (B, U) for each step.
    """

    x: tf.Tensor
    read: list[tf.Tensor]
    outputs: list[tf.Tensor]
    saved: list[list[tf.Tensor]]


def _unrolled(weights: _Weights, x: tf.Tensor, *, sequences: bool) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
    """Return the outputs as a flat graph, and the function from their gradient to the gradients of x and weights."""
    state, steps = _forward(weights, weights.at_rest(x), x, first=True)

    def gradient(dy: tf.Tensor) -> Tensors:
        end = _end(weights, dy, sequences=sequences)
        _, dx, dweights = _backward(weights, end, tf.unstack(dy) if sequences else [], steps)
        return dx, *dweights

    return (tf.stack(steps.outputs) if sequences else state[0]), gradient


def _looped(
    weights: _Weights, x: tf.Tensor, *, sequences: bool, lengths: tf.Tensor | None
) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
    """Return the same as ``_unrolled``, computed by a loop over blocks of unrolled steps.

    The loop keeps the first state, the outputs and the saved tensors of each block, (t, B, ·) each. The gradients of
    the products, which are as large as all of these, exist only while the backward pass processes their block.
    """
    size = PADDED_BLOCK_STEPS
    if lengths is None:  # the largest divisor of T up to BLOCK_STEPS
        size = max(size for size in range(1, BLOCK_STEPS + 1) if x.shape[0] % size == 0)
    blocks = _blocks(x, size)
    count = blocks.shape[0] or tf.shape(blocks)[0]

    def body(at: tf.Tensor, state: Tensors, kept: list[tf.TensorArray]) -> tuple[Any, ...]:
        if lengths is not None:  # the state of an ended example could overflow: relu has no bound
            reads_on = (lengths > at * size)[:, tf.newaxis]
            state = tuple(tf.where(reads_on, each, 0.0) for each in state)
        begin = state[0]
        state, block = _forward(weights, state, blocks[at])
        values = [begin, *(tf.stack(sequence) for sequence in (block.outputs, *block.saved))]
        return at + 1, state, [array.write(at, value) for array, value in zip(kept, values, strict=True)]

    start = (0, weights.at_rest(x), [tf.TensorArray(tf.float32, count) for _ in range(2 + weights.cell.saved)])
    _, state, kept = tf.while_loop(lambda at, *_: at < count, body, start)

    def gradient(dy: tf.Tensor) -> Tensors:
        end, dys = _end(weights, dy, sequences=sequences), _blocks(dy, size) if sequences else None
        dx, dweights = _looped_back(weights, end, dys, blocks, kept)
        return tf.reshape(dx, tf.shape(x)), *dweights

    if not sequences:
        return state[0], gradient
    return tf.reshape(kept[1].stack(), (count * size, -1, weights.units)), gradient


def _looped_back(
    weights: _Weights, end: Tensors, dy: tf.Tensor | None, x: tf.Tensor, kept: list[tf.TensorArray]
) -> tuple[tf.Tensor, Tensors]:
    """Return the gradients of x and of the weights; x, dx and, if all outputs have a gradient, dy are in blocks."""
    count = x.shape[0] or tf.shape(x)[0]

    def body(at: tf.Tensor, dstate: Tensors, dx: tf.TensorArray, dweights: Tensors) -> tuple[Any, ...]:
        begin, *sequences = (array.read(at) for array in kept)
        outputs, *saved = (tf.unstack(sequence) for sequence in sequences)
        read = _read(weights, [begin, *outputs[:-1]], tf.unstack(x[at]))
        dys = [] if dy is None else tf.unstack(dy[at])
        dstate, dx_block, parts = _backward(weights, dstate, dys, _Steps(x[at], read, outputs, saved))
        return at - 1, dstate, dx.write(at, dx_block), tuple(map(tf.add, dweights, parts))

    start = (count - 1, end, tf.TensorArray(tf.float32, count), weights.shaped_as_arguments())
    _, _, dx, dweights = tf.while_loop(lambda at, *_: at >= 0, body, start)
    return dx.stack(), dweights


def _blocks(sequence: tf.Tensor, size: int) -> tf.Tensor:
    """Return a sequence (T, B, n) as blocks of ``size`` steps, (T / size, size, B, n)."""
    steps, _, inputs = sequence.shape
    if steps is None:
        return tf.reshape(sequence, (-1, size, tf.shape(sequence)[1], inputs))
    return tf.reshape(sequence, (steps // size, size, -1, inputs))


def _end(weights: _Weights, dy: tf.Tensor, *, sequences: bool) -> Tensors:
    """Return the gradient of the state after the last step: the gradient of the output, unless all outputs have one."""
    zeros = tf.zeros_like(dy[0] if sequences else dy)
    return (zeros if sequences else dy, *[zeros] * (weights.cell.states - 1))


def _forward(weights: _Weights, state: Tensors, x: tf.Tensor, *, first: bool = False) -> tuple[Tensors, _Steps]:
    """Compute the steps x (t, B, I) from the ``state`` before them; return the state after them, and the steps.

    ``first`` means that this state is all zeros, which makes the products with it unnecessary.
    """
    cell = weights.cell
    projected = () if cell.joins else [_project(x, *gate) for gate in zip(weights.w, weights.b, strict=True)]
    inputs = list(zip(*(tf.unstack(gate) for gate in projected), strict=True)) or [()] * x.shape[0]
    read: list[tf.Tensor] = []
    computed = []
    for number, at in enumerate(tf.unstack(x)):
        read += _read(weights, [state[0]], [at])
        if number or not first:
            products = [read[-1] @ gate for gate in weights.recurrent]
        else:
            of_input = [at @ gate[weights.units :] for gate in weights.recurrent] if cell.joins else []
            products = of_input or [state[0]] * cell.gates
        state, saved = cell.forward(state, products, *inputs[number], *weights.recurrent_b)
        computed.append((state[0], *saved))
    outputs, *kept = (list(sequence) for sequence in zip(*computed, strict=True))
    return state, _Steps(x, read, outputs, kept)


def _backward(
    weights: _Weights, dstate: Tensors, dy: list[tf.Tensor], steps: _Steps
) -> tuple[Tensors, tf.Tensor, Tensors]:
    """Return the gradients of the state before some steps, of their x, and of the weights, in the order of ``of``.

    Args:
        weights: the weights of the layer.
        dstate: gradient of the state after these steps.
        dy: gradient of each output (B, U), if all outputs have one.
        steps: the steps that ``_forward`` returned.
    """
    cell, gradients = weights.cell, []
    for at in reversed(range(len(steps.outputs))):
        dh = tf.add_n([dstate[0], dy[at]]) if dy else dstate[0]
        saved = tuple(sequence[at] for sequence in steps.saved)
        (direct, *others), dproducts, own_dx = cell.backward((dh, *dstate[1:]), steps.outputs[at], saved)
        terms = [gate @ ut for gate, ut in zip(dproducts, weights.transposed, strict=True)]
        dstate = (tf.add_n(terms if direct is None else [direct, *terms]), *others)
        gradients.append((*dproducts, *own_dx))
    sequences = [tf.stack(sequence[::-1]) for sequence in zip(*gradients, strict=True)]
    of_products, own = sequences[: cell.gates], sequences[cell.gates :]
    rows = tf.concat(steps.read, 0)
    drecurrent = tf.concat([tf.matmul(rows, _rows(gate), transpose_a=True) for gate in of_products], 1)
    if cell.joins:
        w = [gate[weights.units :] for gate in weights.recurrent]
        terms = [tf.matmul(gate, part, transpose_b=True) for gate, part in zip(of_products, w, strict=True)]
        return dstate, tf.add_n(terms), (drecurrent,)
    dx, dw_and_b = _project_back(weights, steps.x, of_products[: cell.gates - cell.own_dx] + own)
    drecurrent_b = [tf.reduce_sum(of_products[-1], axis=(0, 1)) for _ in weights.recurrent_b]
    return dstate, dx, (drecurrent, *dw_and_b, *drecurrent_b)


def _read(weights: _Weights, before: list[tf.Tensor], x: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the factor of ``recurrent`` in each step: the state before it, joined to its input if the cell joins."""
    return [tf.concat(both, 1) for both in zip(before, x, strict=True)] if weights.cell.joins else before


def _project(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return x W + b of one gate for all steps: (T, B, I) → (T, B, U)."""
    rows = tf.nn.bias_add(_rows(x) @ w, b)
    return tf.reshape(rows, (x.shape[0], -1, rows.shape[1]))


def _project_back(weights: _Weights, x: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Return the gradients of x, each W and each b, from the gradients of each gate's projection, (T, B, U)."""
    gates = [_rows(gradient) for gradient in gradients]
    dx = tf.add_n([tf.matmul(gate, w, transpose_b=True) for gate, w in zip(gates, weights.w, strict=True)])
    dw = [tf.matmul(_rows(x), gate, transpose_a=True) for gate in gates]
    db = [tf.raw_ops.BiasAddGrad(out_backprop=gate) for gate in gates]
    return tf.reshape(dx, tf.shape(x)), dw + db


def _rows(sequence: tf.Tensor) -> tf.Tensor:
    """Return a sequence (T, B, n) as one matrix (T·B, n)."""
    return tf.reshape(sequence, (-1, sequence.shape[2]))
