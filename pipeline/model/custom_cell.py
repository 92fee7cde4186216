"""A cell of one's own as a layer of the network: a Keras recurrent layer, or a cell that Keras's ``RNN`` runs."""

import inspect
import math

import keras
import numpy as np

from pipeline import custom_cells
from pipeline.errors import UsageError


def layer(cell: str, units: int, *, sequences: bool) -> keras.layers.Layer:
    """Return a layer of a cell such as ``my_cells:MGU``: (B, T, I) → (B, T, U) if ``sequences``, else (B, U).

    Raises:
        UsageError: its class is neither a recurrent layer nor a cell, or cannot be made with these arguments.
    """
    kind = custom_cells.load(cell)
    if not issubclass(kind, keras.layers.Layer):
        raise _refusal(cell, "a class that is none of Keras's layers")
    with custom_cells.explained(cell, f"a layer or cell that is made with units={units}"):
        if _is_layer(kind):
            return kind(units=units, return_sequences=sequences)
        made = kind(units=units)
        if not hasattr(made, "state_size"):
            raise _refusal(cell, "one that takes no return_sequences, as a layer does, and has no state_size")
        return keras.layers.RNN(made, return_sequences=sequences)


def both_directions(cell: str, layer: keras.layers.Layer, *, name: str) -> keras.layers.Layer:
    """Return a layer that reads in both directions; Keras makes the second from the configuration of the first.

    Raises:
        UsageError: it cannot.
    """
    kind = custom_cells.load(cell)
    reads = "a layer with go_backwards, in its get_config too, as direction=bidirectional needs it (a cell needs none)"
    with custom_cells.explained(cell, reads), keras.saving.custom_object_scope({kind.__name__: kind}):
        both = keras.layers.Bidirectional(layer, name=name)
        if both.backward_layer.go_backwards == layer.go_backwards:
            raise ValueError("go_backwards is not in its get_config")
        return both


def logits_by_step(model: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
    """Return the logits that ``model`` would end with if reading ended after each step, (B, T, C).

    It is asked of its last recurrent layer, which ``tells_by_step`` has to be true of.
    """
    last = _returning(model)[-1]
    x = keras.Model(model.input, last.input)(images)
    last.return_sequences = True
    try:
        x = last(x)
    finally:
        last.return_sequences = False
    for layer in model.layers[model.layers.index(last) + 1 : -1]:
        x = layer(x, training=False)
    return x


def tells_by_step(model: keras.Model) -> bool:
    """Return whether the outputs after all steps can be had: after the last, they have to give the model's answer."""
    if not _returning(model):
        return False
    shape = (1, *model.input_shape[1:])
    images = np.linspace(0, 255, math.prod(shape), dtype=np.float32).reshape(shape)
    answer, by_step = (np.asarray(each) for each in (model(images), keras.ops.softmax(logits_by_step(model, images))))
    return by_step.shape[2:] == answer.shape[1:] and np.allclose(by_step[:, -1], answer, atol=1e-5)


def _returning(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of one direction that can be told to return sequences."""
    both = keras.layers.Bidirectional
    return [layer for layer in model.layers if hasattr(layer, "return_sequences") and not isinstance(layer, both)]


def _is_layer(kind: type) -> bool:
    """Return whether a class, or one that it is made from, can be told whether to return sequences."""
    return any("return_sequences" in inspect.signature(each).parameters for each in kind.__mro__[:-1])


def _refusal(cell: str, found: str) -> UsageError:
    return UsageError(
        f"cell: expected {cell} to be a recurrent layer of Keras, made with units and return_sequences, or a cell, "
        f"made with units, with state_size and call(inputs, states), received {found}. docs/cells.md shows one."
    )
