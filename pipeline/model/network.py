"""From settings to a stock Keras model; recurrent layers read an example step by step.

Shapes: B examples in a batch, T steps, I inputs per step, U hidden units, D directions (1 or 2), C classes. The kind of
the examples (``kinds/``) makes the first layers. For images, H × W = T · I; for sequences, I is the number of features.

    raw pixels (B, H, W), 0–255, or sequences (B, T, I), padded with NaN
      → layers of the kind                (B, T, I), scaled; for sequences also a mask of the real steps
      → recurrent layers                  (B, T, D·U) between layers, (B, D·U) after the last;
                                          each followed by Dropout, if requested, in training only
      → Dense                             (B, C) logits
      → Softmax                           (B, C) probabilities

**MGU.** The equations are in ``equations.py``. An MGU is a GRU whose reset gate is the complement of its update gate,
which keeps the state: r = f, z = 1 - f, and σ(-a) = 1 - σ(a). So a stock GRU that has the weights of the gate twice,
once negated, computes the same. It is saved in this form, so that ``model.keras`` opens without code of this project.

**Initial biases** follow Tallec & Ollivier 2018, arXiv:1804.11188. A gate that keeps the fraction σ(b) forgets
1 - σ(b) = 1 / (1 + e^b) in a step, so it remembers about 1 + e^b steps. With b = ln u, and u drawn uniformly from 1 to
T - 1, the units remember 2 to T steps, and half of them more than T / 2. With ``log-chrono``, ln u is drawn uniformly:
then as many units remember 2 to 4 steps as 200 to 400, so some learn short dependencies and others long ones.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from pipeline.cells import CELLS, Cell
from pipeline.kinds.kind import Kind, trimmed
from pipeline.model import custom_cells, recurrent
from pipeline.settings import CHRONO, Settings

BY_STEP = "probabilities_by_step"


def build(settings: Settings, kind: Kind, *, classes: int, by_step: bool = False) -> keras.Model:
    """Return the classifier: raw examples → probabilities (B, C), its weights drawn from the seed.

    With ``by_step`` its probabilities are (B, T, C): the answer if reading ended after each step.

    The recurrent layers are Keras's own with their defaults: tanh, a
    forget-gate bias that starts at 1 (LSTM), reset after the product (GRU);
    the MGU's own layer is saved as a layer of Keras.
    Neither ``dropout`` nor ``initializer`` changes how other weights are drawn.

    Raises:
        UsageError: ``steps`` does not divide the pixels of an image.
    """
    # Keras draws the seeds of initial weights from here; its set_random_seed would also drop all graphs of TensorFlow.
    random.seed(settings.seed)
    inputs = keras.Input(kind.shape, name=kind.model_input)
    x, mask = kind.front(inputs, settings)
    masked = {} if mask is None else {"mask": mask}
    for number in range(1, settings.layers + 1):
        x = _recurrent(settings, number, sequences=by_step or number < settings.layers)(x, **masked)
        if settings.dropout:
            x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name=f"dropout_{number}")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x), name=settings.cell.rpartition(":")[2])
    _initialise(model, settings, steps=kind.steps(settings))
    return model


Answers = Callable[[tf.Tensor], tf.Tensor]

Classify = Callable[[Any], Mapping[str, Any]]
"""Takes examples, a float32 tensor; returns ``probabilities`` (B, C) float32."""


def save(model: keras.Model, settings: Settings, kind: Kind, folder: Path) -> Classify:
    """Write ``model.keras`` and the graph ``saved_model/`` into ``folder``; return the function of that graph.

    The graph's signature takes raw examples, float32, and gives ``probabilities`` (B, C) float32. A second
    signature, ``probabilities_by_step``, gives (B, T, C): the answer if reading ended after each step. It is missing
    if there are no such answers: for a network that reads in both directions, and for a custom layer whose last
    output is not the last of its sequence.

    The graph of a built-in cell computes the recurrent layers with ``recurrent.py``, which takes a server about half
    the time of Keras's loop for one image. A custom cell is traced unchanged; the graph does not need its Python code.

    Args:
        model: the model that ``build`` returned.
        settings: the settings that it was built from.
        kind: the kind that it was built from.
        folder: an existing folder.
    """
    stock = _as_gru(model, settings, kind) if settings.cell == "mgu" else model
    stock.save(folder / "model.keras")
    traced = _traced if settings.cell in CELLS else _signatures  # answers of a custom cell use a copy of the weights
    signatures = traced(model, replace(settings, seed=0), kind)
    module, classify = tf.Module(), signatures["serving_default"]
    module.variables_of_graph = classify.get_concrete_function().variables
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)
    return classify  # type: ignore[no-any-return]


def _signatures(model: keras.Model, settings: Settings, kind: Kind) -> dict[str, Any]:
    """Return the functions of the graph by the name of their signature."""
    examples = tf.TensorSpec(model.input_shape, tf.float32, name=kind.model_input)

    def signature(name: str, answers: Answers) -> Any:
        return tf.function(lambda examples: {name: answers(examples)}, input_signature=[examples], autograph=False)

    final, by_step = _answers(model, settings, kind)
    found = {"serving_default": signature("probabilities", final)}
    return found | ({BY_STEP: signature(BY_STEP, by_step)} if by_step else {})


_traced = lru_cache(maxsize=1)(_signatures)  # the same model may be trained again from another seed


def _answers(model: keras.Model, settings: Settings, kind: Kind) -> tuple[Answers, Answers | None]:
    """Return the functions of the graph: probabilities (B, C) and, if possible, probabilities by step (B, T, C)."""
    forward = settings.direction == "forward"
    if settings.cell not in CELLS:
        by_step = _by_step(model, settings, kind) if forward else None
        return (lambda examples: by_step(examples)[:, -1], by_step) if by_step else (model, None)

    def fast(examples: tf.Tensor, *, by_step: bool = False) -> tf.Tensor:
        lengths = kind.lengths(examples)
        examples = examples if by_step else trimmed(examples, lengths)
        return tf.nn.softmax(recurrent.logits(model, examples, lengths=lengths, backward=False, by_step=by_step))

    return fast, partial(fast, by_step=True) if forward else None


def _by_step(model: keras.Model, settings: Settings, kind: Kind) -> keras.Model | None:
    """Return a network of custom layers that answers after each step; None if its last answer is not the model's."""
    by_step = build(settings, kind, classes=model.output_shape[-1], by_step=True)
    by_step.set_weights(model.get_weights())
    return by_step if np.allclose(by_step(kind.sample())[:, -1], model(kind.sample()), atol=1e-5) else None


# --- layers and initial weights ---------------------------------------------------------------------------------------


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


def _recurrent(settings: Settings, number: int, *, sequences: bool) -> keras.layers.Layer:
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


def _initialise(model: keras.Model, settings: Settings, *, steps: int) -> None:
    """Set the initial weights that Keras does not offer, for sequences of up to ``steps``; the others are unchanged.

    With ``identity`` the recurrent weights (U, U) of every gate are the identity (Keras's ``Identity`` would set only
    the first gate). With ``chrono`` and ``log-chrono`` the biases of the memory gates are random.
    """
    generator, longest = np.random.default_rng(settings.seed), max(steps - 1, 1)
    for weight in model.trainable_weights:
        if settings.initializer == "identity" and weight.name == "recurrent_kernel":
            units, columns = weight.shape
            weight.assign(np.tile(np.eye(units), columns // units))
        if settings.initializer in CHRONO and weight.name == "bias" and weight.path.startswith(settings.cell):
            kind, bias = next(kind for cell, kind in CELLS.items() if cell == settings.cell), weight.numpy()
            gates = bias.reshape(-1, kind.gates, bias.shape[-1] // kind.gates)[0]  # a view: (G, U) of the first row
            log, units = settings.initializer == "log-chrono", gates.shape[1]
            keep = generator.uniform(0, np.log(longest), units) if log else np.log(generator.uniform(1, longest, units))
            for gate, sign in kind.memory_gates.items():
                gates[gate] = sign * keep
            weight.assign(bias)


def _as_gru(model: keras.Model, settings: Settings, kind: Kind) -> keras.Model:
    """Return a network of Keras's GRU that computes the same as a network of MGU layers."""
    gru = build(replace(settings, cell="gru"), kind, classes=model.output_shape[-1])
    *recurrent, kernel, bias = model.get_weights()
    gru.set_weights([*map(_gru_weight, recurrent), kernel, bias])
    return gru


def _gru_weight(weight: NDArray[Any]) -> NDArray[Any]:
    """Convert a kernel or the biases of an MGU (gates f, n) to a GRU (gates z, r, n)."""
    f, n = np.split(weight, 2, axis=-1)
    return np.concatenate([-f, f, n], axis=-1)
