"""Gates that remember from the start: biases for memories as long as the sequence (Tallec & Ollivier 2018, 1804.11188).

A gate that keeps with σ(b) forgets by 1 - σ(b) = 1 / (1 + e^b) in a step, so it remembers about 1 + e^b steps. With
b = ln u, and u drawn evenly from 1 to T - 1, the units remember from 2 to T steps: half of them more than T / 2. With
``log`` it is ln u that is drawn evenly: as many units then remember 2 to 4 steps as 200 to 400, so that some learn what
is near while others hold what is far.
"""

import keras
import numpy as np
import numpy.typing as npt


def start(model: keras.Model, cell: str, *, steps: int, seed: int, log: bool) -> None:
    """Set the biases of the gates of all recurrent layers of ``model``; all other weights stay as they were drawn.

    Args:
        model: a network of ``cell``.
        cell: lstm, gru or mgu.
        steps: T.
        seed: of what is drawn.
        log: draw ln u evenly, not u.
    """
    random, longest = np.random.default_rng(seed), max(steps - 1, 1)
    for weight in model.trainable_weights:
        if weight.name == "bias" and weight.path.split("/")[0].startswith(cell):
            bias = weight.numpy()
            units = bias.shape[-1] // _GATES[cell]
            keep = random.uniform(0, np.log(longest), units) if log else np.log(random.uniform(1, longest, units))
            _set(bias, cell, keep)
            weight.assign(bias)


_GATES = {"lstm": 4, "gru": 3, "mgu": 2}


def _set(bias: npt.NDArray[np.float32], cell: str, keep: npt.NDArray[np.float64]) -> None:
    """Let the gate that keeps have the bias ``keep`` (U,), and one that takes in have its opposite."""
    units = len(keep)
    if cell == "lstm":  # i, f, g, o
        bias[:units], bias[units : 2 * units] = -keep, keep
    elif cell == "gru":  # z, which keeps, r, n; the first of two rows
        bias[0, :units] = keep
    else:  # f, of which 1 - σ(f) keeps, n
        bias[0, :units] = -keep
