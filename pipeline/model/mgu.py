"""The minimal gated unit for Keras, which has none, and its form as a stock GRU.

The equations are in ``equations.py``. An MGU is a GRU whose reset gate is the complement of its update gate, which
keeps the state: r = f, z = 1 - f, and σ(-a) = 1 - σ(a). So a stock GRU that has the weights of the gate twice, once
negated, computes the same. It is saved in this form, so that ``model.keras`` opens without code of this project.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

Numbers = npt.NDArray[Any]


@keras.saving.register_keras_serializable(package="pipeline")  # Bidirectional copies its layer
class MGUCell(keras.layers.Layer):  # type: ignore[misc]
    """One step of the minimal gated unit: inputs (B, I), state (B, U) → output and state (B, U)."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights, initialised like those of Keras's GRU."""
        columns = 2 * self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], columns), initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, columns), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(2, columns), initializer="zeros", name="bias")

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Return the output of a step and the state after it."""
        h = states[0]
        xf, xn = ops.split(inputs @ self.kernel + self.bias[0], 2, axis=-1)
        hf, hn = ops.split(h @ self.recurrent_kernel + self.bias[1], 2, axis=-1)
        f = ops.sigmoid(xf + hf)
        h = h + f * (ops.tanh(xn + f * hn) - h)
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of a copy."""
        return {**super().get_config(), "units": self.units}


def as_stock_layers(model: keras.Model) -> keras.Model:
    """Return ``model``; if it has MGU layers, return an equivalent network of Keras's own layers."""
    if not any(map(_is_mgu, model.layers)):
        return model
    copy = keras.models.clone_model(model, clone_function=_stock_layer)
    *recurrent, kernel, bias = model.get_weights()
    copy.set_weights([*map(_stock_weight, recurrent), kernel, bias])
    return copy


def _is_mgu(layer: keras.layers.Layer) -> bool:
    return isinstance(getattr(getattr(layer, "forward_layer", layer), "cell", None), MGUCell)


def _stock_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if not _is_mgu(layer):
        return type(layer).from_config(layer.get_config())
    if isinstance(layer, keras.layers.Bidirectional):
        return keras.layers.Bidirectional(_stock_layer(layer.forward_layer), name=layer.name)
    return keras.layers.GRU(layer.cell.units, return_sequences=layer.return_sequences, name=layer.name)


def _stock_weight(weight: Numbers) -> Numbers:
    """Return a kernel or the biases of a GRU (gates z, r, n) from those of an MGU (gates f, n)."""
    f, n = np.split(weight, 2, axis=-1)
    return np.concatenate([-f, f, n], axis=-1)
