"""The minimal gated unit as a layer of Keras, which has none: it holds the weights, and computes them where they stand.

Its equations are in ``equations.py``. It is a GRU whose reset gate is the complement of its update gate, which keeps:
r = f, z = 1 - f, and σ(-a) = 1 - σ(a). So a stock GRU with the weights of the gate twice, once negated, computes the
same, and that is what is saved: whoever opens ``model.keras`` needs no code of this project.
"""

from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

Numbers = npt.NDArray[Any]


class MGUCell(keras.layers.Layer):  # type: ignore[misc]
    """A step of the minimal gated unit: inputs (B, I), state (B, U) → output and state (B, U)."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, drawn as Keras draws those of its GRU."""
        columns = 2 * self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], columns), initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, columns), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(2, columns), initializer="zeros", name="bias")

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Return the output of a step, and the state after it."""
        h = states[0]
        xf, xn = ops.split(inputs @ self.kernel + self.bias[0], 2, axis=-1)
        hf, hn = ops.split(h @ self.recurrent_kernel + self.bias[1], 2, axis=-1)
        f = ops.sigmoid(xf + hf)
        h = h + f * (ops.tanh(xn + f * hn) - h)
        return h, [h]


@keras.saving.register_keras_serializable(package="pipeline")  # Bidirectional makes two of one
class MGU(keras.layers.RNN):  # type: ignore[misc]
    """A layer of minimal gated units: (B, T, I) → (B, T, U) if ``return_sequences``, else the last output, (B, U)."""

    def __init__(self, units: int, return_sequences: bool = False, go_backwards: bool = False, **options: Any) -> None:
        super().__init__(MGUCell(units), return_sequences=return_sequences, go_backwards=go_backwards, **options)
        self.units = units

    def get_config(self) -> dict[str, Any]:
        """Return what another layer such as this one is made from."""
        return {name: value for name, value in super().get_config().items() if name != "cell"} | {"units": self.units}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a layer that is made as ``get_config`` says."""
        return cls(**config)


def portable(model: keras.Model) -> keras.Model:
    """Return a network that computes what ``model`` does, of Keras's own layers alone; itself if it is of these."""
    if not any(_is_mgu(layer) for layer in model.layers):
        return model
    copy = keras.models.clone_model(model, clone_function=_stock_layer)
    for layer, other in zip(model.layers, copy.layers, strict=True):
        weights = layer.get_weights()
        other.set_weights(list(map(_stock_weight, weights)) if _is_mgu(layer) else weights)
    return copy


def _is_mgu(layer: keras.layers.Layer) -> bool:
    return isinstance(layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer, MGU)


def _stock_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if not _is_mgu(layer):
        return type(layer).from_config(layer.get_config())
    if isinstance(layer, keras.layers.Bidirectional):
        return keras.layers.Bidirectional(_stock_layer(layer.forward_layer), name=layer.name)
    return keras.layers.GRU(layer.units, return_sequences=layer.return_sequences, name=layer.name)


def _stock_weight(weight: Numbers) -> Numbers:
    """Return a kernel or the biases of a GRU, gates z, r, n, from those of gates f, n."""
    f, n = np.split(weight, 2, axis=-1)
    return np.concatenate([-f, f, n], axis=-1)
