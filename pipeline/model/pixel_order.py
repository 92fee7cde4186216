"""In what order the pixels of an image are read: a part of the network, which so takes ordinary images."""

import numpy as np
from numpy.typing import NDArray

from pipeline.settings import Order

PERMUTATION_SEED = 2015
"""Of the one permutation of ``permuted``: that of ``numpy.random.RandomState``, whose numbers never change."""


def pixels(order: Order, height: int, width: int) -> NDArray[np.int64]:
    """Return the numbers of the pixels (H·W), counted along the rows, in the order in which they are read."""
    by_rows = np.arange(height * width).reshape(height, width)
    if order == "columns":
        by_rows = by_rows.T
    elif order == "snake":  # every other row from right to left, so that each pixel adjoins the one before
        by_rows[1::2] = by_rows[1::2, ::-1].copy()
    elif order == "permuted":
        return np.random.RandomState(PERMUTATION_SEED).permutation(height * width)
    return by_rows.ravel()
