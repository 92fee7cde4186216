"""Every recurrent cell, once: what it is called here and in Keras, and how large it is.

Its equations are in ``model/equations.py``; whatever else is to be known of a cell follows from this table. A cell of
one's own, ``my_cells:MGU``, is not in it: see ``custom_cells.py``.
"""

from typing import Literal, NamedTuple

Cell = Literal["rnn", "lstm", "gru", "mgu"]


class Kind(NamedTuple):
    """A kind of recurrent cell.

    Attributes:
        gates: matrices (I, U) and (U, U) of a layer, to which its time is about proportional.
        layer: the name of Keras's layer; of the MGU, which it lacks, of ours.
        about: who it is of.
    """

    gates: int
    layer: str
    about: str


CELLS: dict[Cell, Kind] = {
    "rnn": Kind(1, "SimpleRNN", "The vanilla recurrent network, of Elman 1990."),
    "lstm": Kind(4, "LSTM", "Long short-term memory, of Hochreiter & Schmidhuber 1997 with Gers's forget gate."),
    "gru": Kind(3, "GRU", "The gated recurrent unit, of Cho et al. 2014."),
    "mgu": Kind(2, "MGU", "The minimal gated unit, of Zhou et al. 2016: a GRU with one gate in place of two."),
}


def is_own(name: str) -> bool:
    """Return whether a name is that of a cell of one's own, ``module:Class``."""
    module, colon, kind = name.partition(":")
    return bool(colon) and kind.isidentifier() and all(part.isidentifier() for part in module.split("."))


def check_own(name: str) -> bool:
    """Return True if a name is that of a cell of one's own.

    Raises:
        ValueError: it is none.
    """
    if not is_own(name):
        raise ValueError("expected MODULE:CLASS of a cell of your own, such as my_cells:MGU")
    return True


def gates(name: str) -> int:
    """Return the matrices of a cell in each of its layers; of one's own, the one that it has at the least."""
    return next((kind.gates for cell, kind in CELLS.items() if cell == name), 1)


def plain(name: str) -> str:
    """Return the name of a cell as a part of a model's, in which MLflow takes neither colons nor dots."""
    return name.replace(":", "-").replace(".", "-")
