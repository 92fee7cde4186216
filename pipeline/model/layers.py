"""The recurrent layers of a network and their initial weights; the minimal gated unit, which Keras lacks.

**MGU.** The equations are in ``equations.py``. An MGU is a GRU whose reset gate is the complement of its update gate,
which keeps the state: r = f, z = 1 - f, and σ(-a) = 1 - σ(a). So a stock GRU that has the weights of the gate twice,
once negated, computes the same. It is saved in this form, so that ``model.keras`` opens without code of this project.

**Initial biases** follow Tallec & Ollivier 2018, arXiv:1804.11188. A gate that keeps the fraction σ(b) forgets
1 - σ(b) = 1 / (1 + e^b) in a step, so it remembers about 1 + e^b steps. With b = ln u, and u drawn uniformly from 1 to
T - 1, the units remember 2 to T steps, and half of them more than T / 2. With ``log-chrono``, ln u is drawn uniformly:
then as many units remember 2 to 4 steps as 200 to 400, so some learn short dependencies and others long ones.
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pipeline.cells import CELLS, Cell
from pipeline.model import custom_cells
from pipeline.settings import CHRONO, Settings


@keras.saving.register_keras_serializable(package="pipeline")  # Bidirectional copies its layer
class MGUCell(keras.layers.Layer):  # type: ignore[misc]
    """One step of the minimal gated unit: inputs (B, I), state (B, U) → output and state (B, U)."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights, initialised as in Keras's GRU."""
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


def recurrent(settings: Settings, number: int, *, sequences: bool) -> keras.layers.Layer:
    """Return recurrent layer ``number``, counted from 1; it returns all outputs if ``sequences``."""
    name, units = f"{settings.cell.rpartition(':')[2]}_{number}", settings.hidden_units
    bidirectional = settings.direction == "bidirectional"
    if settings.cell not in CELLS:
        return custom_cells.layer(settings.cell, units, sequences=sequences, bidirectional=bidirectional, name=name)
    options = {"activation": settings.activation} if settings.activation != "tanh" else {}
    layer = built_in(settings.cell, units, return_sequences=sequences, name=name, **options)
    return keras.layers.Bidirectional(layer, name=name) if bidirectional else layer


def built_in(cell: Cell, units: int, **options: Any) -> keras.layers.RNN:
    """Return a layer of a built-in cell: Keras's own, except for the MGU."""
    if cell == "mgu":
        return keras.layers.RNN(MGUCell(units), **options)
    return getattr(keras.layers, CELLS[cell].layer)(units, **options)


def initialise(model: keras.Model, settings: Settings, *, steps: int) -> None:
    """Set the initial weights that Keras does not offer, for sequences of up to ``steps``; the others are unchanged.

    With ``identity`` the recurrent weights (U, U) of every gate are the identity (Keras's ``Identity`` would set only
    the first gate). With ``chrono`` and ``log-chrono`` the biases of the memory gates are random.
    """
    random, longest = np.random.default_rng(settings.seed), max(steps - 1, 1)
    for weight in model.trainable_weights:
        if settings.initializer == "identity" and weight.name == "recurrent_kernel":
            units, columns = weight.shape
            weight.assign(np.tile(np.eye(units), columns // units))
        if settings.initializer in CHRONO and weight.name == "bias" and weight.path.startswith(settings.cell):
            kind, bias = next(kind for cell, kind in CELLS.items() if cell == settings.cell), weight.numpy()
            gates = bias.reshape(-1, kind.gates, bias.shape[-1] // kind.gates)[0]  # a view: (G, U) of the first row
            log, units = settings.initializer == "log-chrono", gates.shape[1]
            keep = random.uniform(0, np.log(longest), units) if log else np.log(random.uniform(1, longest, units))
            for gate, sign in kind.memory_gates.items():
                gates[gate] = sign * keep
            weight.assign(bias)


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


def _stock_weight(weight: NDArray[Any]) -> NDArray[Any]:
    """Convert a kernel or the biases of an MGU (gates f, n) to a GRU (gates z, r, n)."""
    f, n = np.split(weight, 2, axis=-1)
    return np.concatenate([-f, f, n], axis=-1)
