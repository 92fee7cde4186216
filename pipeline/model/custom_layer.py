"""A custom cell as a layer of the network: a Keras recurrent layer, or a cell that Keras's ``RNN`` runs."""

import inspect

import keras

from pipeline import custom_cells


def build(cell: str, units: int, *, sequences: bool, bidirectional: bool, name: str) -> keras.layers.Layer:
    """Return a layer of a cell such as ``my_cells:MGU``: (B, T, I) → (B, T, D·U) if ``sequences``, else (B, D·U).

    Raises:
        UsageError: its class is neither a recurrent layer nor a cell, or cannot be created with these arguments.
    """
    kind = custom_cells.load(cell)
    expected = (
        f"a cell, made with units={units}, with state_size and call(inputs, states), or a recurrent Keras layer, made "
        "with return_sequences too (docs/cells.md shows one)"
    )
    with custom_cells.explained(cell, expected):
        if any("return_sequences" in inspect.signature(each).parameters for each in kind.__mro__[:-1]):
            layer = kind(units=units, return_sequences=sequences)
        else:
            layer = keras.layers.RNN(kind(units=units), return_sequences=sequences)
    if not bidirectional:
        return layer
    expected = "a layer with go_backwards, in its get_config too, as direction=bidirectional requires (a cell has none)"
    with custom_cells.explained(cell, expected), keras.saving.custom_object_scope({kind.__name__: kind}):
        return keras.layers.Bidirectional(layer, name=name)
