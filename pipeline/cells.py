"""Every recurrent cell, once: what it is called here and in Keras, and how large it is.

Its equations are in ``model/recurrent.py``; whatever else is to be known of a cell follows from this table.
"""

from typing import Literal, NamedTuple

Cell = Literal["rnn", "lstm", "gru"]


class Kind(NamedTuple):
    """A kind of recurrent cell.

    Attributes:
        gates: matrices (I, U) and (U, U) of a layer, to which its time is about proportional.
        layer: the name of Keras's layer.
        about: who it is of.
    """

    gates: int
    layer: str
    about: str


CELLS: dict[Cell, Kind] = {
    "rnn": Kind(1, "SimpleRNN", "The vanilla recurrent network, of Elman 1990."),
    "lstm": Kind(4, "LSTM", "Long short-term memory, of Hochreiter & Schmidhuber 1997 with Gers's forget gate."),
    "gru": Kind(3, "GRU", "The gated recurrent unit, of Cho et al. 2014."),
}
