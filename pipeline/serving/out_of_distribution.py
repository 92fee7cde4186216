"""Check whether an image resembles the training images of its class.

Images are compared by the cosine between their histograms of oriented gradients (N. Dalal and B. Triggs, "Histograms of
oriented gradients for human detection", CVPR 2005): the strength of edges of each direction in each cell of 4 × 4
pixels. An image resembles a class if it is as near to its nearest example as nearly all held-out images are to theirs.
The examples come with this package, which has only MNIST; for other data the answer is not known.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.data.datasets import CATALOGUE, MAGIC, STEMS, read_idx
from pipeline.tracking.models import Classifier

EXAMPLES = 30_000
CELL = 4  # side in pixels
DIRECTIONS = 8  # number of directions of an edge, from 0° to 180°
UNLIKE = 0.015
"""Fraction of the held-out images that count as unlike their class; up to 2% of MNIST's test images do."""


class Similarity:
    """Compares images with examples of each class.

    Args:
        images: (N, H, W), the examples after the first ``held_out``, which determine the minimum similarity.
        labels: (N,), from 0.
        held_out: number of held-out images.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.uint8], *, held_out: int) -> None:
        features, known = _features(images), range(labels.max() + 1)
        self._examples = [features[held_out:][labels[held_out:] == label] for label in known]
        others = [features[:held_out][labels[:held_out] == label] for label in known]
        self._enough = np.quantile(np.concatenate(list(map(self._nearest, others, known))), UNLIKE)

    def holds(self, pixels: NDArray[np.uint8], label: int) -> bool:
        """Return whether an image (H, W) resembles a class; an empty one resembles none."""
        return bool(self._nearest(_features(pixels[None]), label)[0] >= self._enough)

    def _nearest(self, features: NDArray[np.float32], label: int) -> NDArray[np.float32]:
        """Return the cosine between the features of each of N images and of its nearest example of a class."""
        return np.asarray((features @ self._examples[label].T).max(axis=1), np.float32)


def of(classifier: Classifier) -> Similarity | None:
    """Return the comparison with a model's training images if its data set comes with this package; else None.

    Raises:
        DataError: the files of the data set are damaged.
    """
    published, classes = CATALOGUE.get(classifier.dataset), tuple(classifier.class_names)
    if not (published and published.folder and published.validation and published.class_names == classes):
        return None
    rows = published.validation + EXAMPLES
    images, labels = (
        read_idx((published.folder / f"{stem}.gz").read_bytes(), name=stem, kind=kind)[:rows]
        for kind, stem in zip(MAGIC, STEMS, strict=False)
    )
    return Similarity(images, labels, held_out=published.validation)


def _features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the histograms of oriented gradients (N, F) of images (N, H, W), as vectors of length 1."""
    # Parts take less memory.
    return np.concatenate([_histograms(part) for part in np.array_split(images, len(images) // 1_000 + 1)])


def _histograms(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    down, across = np.gradient(gaussian_filter(images.astype(np.float32), (0, 0.7, 0.7)), axis=(1, 2))
    strength, direction = np.hypot(down, across), np.arctan2(down, across) / np.pi * DIRECTIONS
    number, rows, columns = len(images), images.shape[1] // CELL, images.shape[2] // CELL
    image, row, column = np.ix_(*map(range, images.shape))
    cell = (image * rows + row // CELL) * columns + column // CELL
    below = np.floor(direction).astype(int)
    histograms = np.zeros(number * rows * columns * DIRECTIONS)
    for nearest, share in ((below, below + 1 - direction), (below + 1, direction - below)):
        places = cell * DIRECTIONS + nearest % DIRECTIONS
        histograms += np.bincount(places.ravel(), (strength * share).ravel(), len(histograms))
    shape = number, rows, columns, DIRECTIONS
    smooth = gaussian_filter(histograms.reshape(shape), (0, 0.7, 0.7, 0))  # a stroke may be slightly shifted
    features = np.sqrt(smooth.reshape(number, -1))
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6), np.float32)
