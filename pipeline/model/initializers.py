"""Initial values that Keras does not offer: an identity for each gate, and biases for a long memory.

The biases follow Tallec & Ollivier 2018, arXiv:1804.11188. A gate that keeps the fraction σ(b) forgets 1 - σ(b) =
1 / (1 + e^b) in a step, so it remembers about 1 + e^b steps. With b = ln u, and u drawn uniformly from 1 to T - 1, the
units remember 2 to T steps, and half of them more than T / 2. With ``log``, ln u is drawn uniformly: then as many units
remember 2 to 4 steps as 200 to 400, so some learn short dependencies and others long ones.
"""

import keras
import numpy as np

from pipeline.cells import CELLS, Cell


def set_identity(model: keras.Model) -> None:
    """Set the recurrent weights (U, U) of every gate to the identity: a state starts as a sum over the steps.

    Keras's ``Identity`` would set only the first gate. All other weights are unchanged.
    """
    for weight in model.trainable_weights:
        if weight.name == "recurrent_kernel":
            units, columns = weight.shape
            weight.assign(np.tile(np.eye(units), columns // units))


def set_chrono(model: keras.Model, cell: Cell, *, steps: int, seed: int, log: bool) -> None:
    """Set the biases of the memory gates of all recurrent layers; all other weights are unchanged.

    Args:
        model: a network of ``cell``.
        cell: a cell with gates.
        steps: T.
        seed: seed of the random biases.
        log: draw ln u, rather than u, uniformly.
    """
    random, longest, kind = np.random.default_rng(seed), max(steps - 1, 1), CELLS[cell]
    for weight in model.trainable_weights:
        if weight.name == "bias" and weight.path.split("/")[0].startswith(cell):
            bias = weight.numpy()
            gates = bias.reshape(-1, kind.gates, bias.shape[-1] // kind.gates)[0]  # a view: (G, U) of the first row
            units = gates.shape[1]
            keep = random.uniform(0, np.log(longest), units) if log else np.log(random.uniform(1, longest, units))
            for gate, sign in kind.memory_gates.items():
                gates[gate] = sign * keep
            weight.assign(bias)
