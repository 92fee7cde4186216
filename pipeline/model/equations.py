"""The equations of each recurrent layer: a step forward and a step back, written by hand.

Shapes: B examples in a batch, I inputs per step, U hidden units, G gates (1, 4, 3 or 2).

Keras's own cells have the same equations, with the gates in the same order; x_t is the
input of a step, h_t its output, ∘ the product of elements, σ the sigmoid:

    SimpleRNN   h_t = tanh(x_t W + b + h_{t-1} U)                     Elman 1990; or relu for tanh

    LSTM        i, f, g, o = x_t W + b + h_{t-1} U                    Hochreiter & Schmidhuber 1997,
                c_t = σ(f) ∘ c_{t-1} + σ(i) ∘ tanh(g)                 forget gate of Gers et al. 2000
                h_t = σ(o) ∘ tanh(c_t)

    GRU         z, r, n = x_t W + b;  z', r', n' = h_{t-1} U + b'     Cho et al. 2014, arXiv:1406.1078v1
                n̂ = tanh(n + σ(r + r') ∘ n')                          (reset after the product)
                h_t = σ(z + z') ∘ h_{t-1} + (1 - σ(z + z')) ∘ n̂

    MGU         f, n = x_t W + b;  f', n' = h_{t-1} U + b'            Zhou et al. 2016, arXiv:1603.09420
                n̂ = tanh(n + σ(f + f') ∘ n')                          (the gate after the product, as in the GRU)
                h_t = (1 - σ(f + f')) ∘ h_{t-1} + σ(f + f') ∘ n̂
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from pipeline.cells import CELLS, Cell

Tensors = tuple[tf.Tensor, ...]

_sigmoid_gradient = tf.raw_ops.SigmoidGrad  # (y, dy) → dy ∘ y ∘ (1 - y) in one pass over memory
_tanh_gradient = tf.raw_ops.TanhGrad  # (y, dy) → dy ∘ (1 - y²)


class Equations(NamedTuple):
    """The equations of one kind of layer, one step forward and one back; a tensor is (B, U), b' (U).

    A *product* is h U of a gate, or x W + b + h U if a step ``joins`` its input to its state.

    Attributes:
        gates: G.
        states: number of tensors that a step passes to the next, its output h first.
        saved: number of tensors, other than its output, that ``forward`` saves for ``backward``.
        joins: whether a step reads [h, x, 1] rather than h.
        own_dx: 1 if the last gate's x W + b and h U have different gradients, else 0.
        forward: (state, product of each gate, x W + b of each gate unless ``joins``, b' of the last
            gate if it has one) → (state after the step, saved).
        backward: (gradient of the state after the step, its output, saved) → (the part of it that reaches the
            previous state without passing through the products, None if there is none; the gradients of the
            products, which x W + b has too; the gradient of the last x W + b if ``own_dx``).
    """

    gates: int
    states: int
    saved: int
    joins: bool
    own_dx: int
    forward: Callable[..., tuple[Tensors, Tensors]]
    backward: Callable[[Tensors, tf.Tensor, Tensors], tuple[Tensors, Tensors, Tensors]]


def _vanilla(activation: Callable[..., tf.Tensor], gradient: Callable[..., tf.Tensor]) -> Equations:
    """Return the equations of the vanilla RNN with an activation; ``gradient`` is (h, dh) → dh ∘ activation'."""

    def forward(state: Tensors, hu: Tensors, x: tf.Tensor) -> tuple[Tensors, Tensors]:
        return (activation(x + hu[0]),), ()

    def backward(dstate: Tensors, h: tf.Tensor, saved: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        return (None,), (gradient(h, dstate[0]),), ()

    return Equations(CELLS["rnn"].gates, 1, 0, False, 0, forward, backward)


def _lstm_forward(state: Tensors, sums: Tensors) -> tuple[Tensors, Tensors]:
    (_, c), (i, f, g, o) = state, sums
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    new_c = f * c + i * g
    tanh_c = tf.tanh(new_c)
    return (o * tanh_c, new_c), (c, i, f, g, o, tanh_c)


def _lstm_backward(dstate: Tensors, h: tf.Tensor, saved: Tensors) -> tuple[Tensors, Tensors, Tensors]:
    (dh, dc), (c, i, f, g, o, tanh_c) = dstate, saved
    dc += _tanh_gradient(y=tanh_c, dy=dh * o)
    di, df = _sigmoid_gradient(y=i, dy=dc * g), _sigmoid_gradient(y=f, dy=dc * c)
    dg, do = _tanh_gradient(y=g, dy=dc * i), _sigmoid_gradient(y=o, dy=dh * tanh_c)
    return (None, dc * f), (di, df, dg, do), ()


def _gru_forward(state: Tensors, hu: Tensors, *inputs: tf.Tensor) -> tuple[Tensors, Tensors]:
    (h,), (xz, xr, xn, b) = state, inputs
    z, r = tf.sigmoid(xz + hu[0]), tf.sigmoid(xr + hu[1])
    hn = tf.nn.bias_add(hu[2], b)
    n = tf.tanh(xn + r * hn)
    change = h - n
    return (n + z * change,), (z, r, n, hn, change)


def _gru_backward(dstate: Tensors, h: tf.Tensor, saved: Tensors) -> tuple[Tensors, Tensors, Tensors]:
    (dh,), (z, r, n, hn, change) = dstate, saved
    dz = _sigmoid_gradient(y=z, dy=dh * change)
    dn = _tanh_gradient(y=n, dy=dh - dh * z)
    dr = _sigmoid_gradient(y=r, dy=dn * hn)
    return (dh * z,), (dz, dr, dn * r), (dn,)


def _mgu_forward(state: Tensors, hu: Tensors, *inputs: tf.Tensor) -> tuple[Tensors, Tensors]:
    (h,), (xf, xn, b) = state, inputs
    f = tf.sigmoid(xf + hu[0])
    hn = tf.nn.bias_add(hu[1], b)
    n = tf.tanh(xn + f * hn)
    change = n - h
    return (h + f * change,), (f, n, hn, change)


def _mgu_backward(dstate: Tensors, h: tf.Tensor, saved: Tensors) -> tuple[Tensors, Tensors, Tensors]:
    (dh,), (f, n, hn, change) = dstate, saved
    dn = _tanh_gradient(y=n, dy=dh * f)
    df = _sigmoid_gradient(y=f, dy=dh * change + dn * hn)
    return (dh - dh * f,), (df, dn * f), (dn,)


EQUATIONS: dict[Cell, Equations] = {
    "rnn": _vanilla(tf.tanh, lambda h, dh: _tanh_gradient(y=h, dy=dh)),
    "lstm": Equations(CELLS["lstm"].gates, 2, 6, True, 0, _lstm_forward, _lstm_backward),
    "gru": Equations(CELLS["gru"].gates, 1, 5, False, 1, _gru_forward, _gru_backward),
    "mgu": Equations(CELLS["mgu"].gates, 1, 4, False, 1, _mgu_forward, _mgu_backward),
}

RELU_RNN = _vanilla(tf.nn.relu, lambda h, dh: tf.raw_ops.ReluGrad(gradients=dh, features=h))
"""The vanilla RNN with relu instead of tanh; started at the identity it is the IRNN of Le, Jaitly & Hinton 2015,
arXiv:1504.00941."""
