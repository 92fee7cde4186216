"""A cell of one's own as a layer of the network: a Keras recurrent layer, or a cell that Keras's ``RNN`` runs."""

import inspect

import keras

from pipeline import own_cells
from pipeline.errors import UsageError


def layer(cell: str, units: int, *, sequences: bool) -> keras.layers.Layer:
    """Return a layer of a cell such as ``my_cells:MGU``: (B, T, I) → (B, T, U) if ``sequences``, else (B, U).

    Raises:
        UsageError: its class is neither a recurrent layer nor a cell, or cannot be made with these arguments.
    """
    kind = own_cells.load(cell)
    if not issubclass(kind, keras.layers.Layer):
        raise _refusal(cell, "a class that is none of Keras's layers")
    with own_cells.explained(cell, f"a layer or cell that is made with units={units}"):
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
    kind = own_cells.load(cell)
    reads = "a layer with go_backwards, in its get_config too, as direction=bidirectional needs it (a cell needs none)"
    with own_cells.explained(cell, reads), keras.saving.custom_object_scope({kind.__name__: kind}):
        both = keras.layers.Bidirectional(layer, name=name)
        if both.backward_layer.go_backwards == layer.go_backwards:
            raise ValueError("go_backwards is not in its get_config")
        return both


def _is_layer(kind: type) -> bool:
    """Return whether a class, or one that it is made from, can be told whether to return sequences."""
    return any("return_sequences" in inspect.signature(each).parameters for each in kind.__mro__[:-1])


def _refusal(cell: str, found: str) -> UsageError:
    return UsageError(
        f"cell: expected {cell} to be a recurrent layer of Keras, made with units and return_sequences, or a cell, "
        f"made with units, with state_size and call(inputs, states), received {found}. docs/cells.md shows one."
    )
