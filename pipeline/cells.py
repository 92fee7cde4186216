"""The table of built-in recurrent cells, and the names of custom ones.

The equations are in ``model/equations.py``; everything else about a cell follows from this table. A custom cell,
``my_cells:MGU``, is not in it: see ``model/custom_cells.py``.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Cell = Literal["rnn", "lstm", "gru", "mgu"]


class Kind(NamedTuple):
    """A kind of recurrent cell.

    Attributes:
        gates: number of matrices (I, U), and of matrices (U, U), in a layer; its time is roughly proportional to it.
        layer: name of its Keras layer; Keras lacks the MGU, see ``model/network.py``.
        memory_gates: indices of the gates that control the memory: 1 if a large bias keeps the state, -1 if it
            overwrites the state. Empty for a cell without gates.
    """

    gates: int
    layer: str
    memory_gates: Mapping[int, int]


CELLS: dict[Cell, Kind] = {
    "rnn": Kind(1, "SimpleRNN", {}),
    "lstm": Kind(4, "LSTM", {0: -1, 1: 1}),
    "gru": Kind(3, "GRU", {0: 1}),
    "mgu": Kind(2, "MGU", {0: -1}),
}

GATED: tuple[Cell, ...] = tuple(cell for cell, kind in CELLS.items() if kind.memory_gates)
"""The built-in cells that have gates."""


def is_custom(name: str) -> bool:
    """Return whether a name has the form of a custom cell, ``module:Class``."""
    module, colon, kind = name.partition(":")
    return bool(colon) and kind.isidentifier() and all(part.isidentifier() for part in module.split("."))


def check_custom(name: str) -> bool:
    """Return True if a name has the form of a custom cell.

    Raises:
        ValueError: it does not.
    """
    if not is_custom(name):
        raise ValueError("be MODULE:CLASS of a custom cell, such as my_cells:MyCell")
    return True


def gates(name: str) -> int:
    """Return the number of gates of a cell; 1, the fewest possible, for a custom cell."""
    return next((kind.gates for cell, kind in CELLS.items() if cell == name), 1)
