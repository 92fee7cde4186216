"""Whether an image is like those that a model knows: a scribble is given some class as well, often with certainty.

An image is as like a class as it is to the nearest example of it, by the
cosine of the angle between the two, each blurred a little, so that a stroke
may lie a pixel beside. How like is enough is what nearly all images reach
that were held out of the training. The examples are at hand for data that
comes with this package, which is MNIST; for other data nothing is said.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from pipeline.data import idx
from pipeline.data.datasets import CATALOGUE, STEMS

EXAMPLES = 30_000  # 94 MB of MNIST's; of 10,000 they find a third fewer of what is none
BLUR = 1.0  # pixels, standard deviation
UNLIKE = 0.01
"""Fraction of the images held out that count as unlike their class: of test images 1.3 %. More, and more is found."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Likeness:
    """Knows examples of each class."""

    def __init__(self, images: Bytes, labels: Bytes, *, held_out: int) -> None:
        """Take images (N, H, W) and labels (N,), of which the first ``held_out`` say how like is enough."""
        directions, known = _directions(images), range(labels.max() + 1)
        self._examples = [directions[held_out:][labels[held_out:] == label] for label in known]
        others = [directions[:held_out][labels[:held_out] == label] for label in known]
        self._enough = np.quantile(np.concatenate(list(map(self._nearest, others, known))), UNLIKE)

    def holds(self, pixels: Bytes, label: int) -> bool:
        """Return whether an image (H, W) is like a class; one that is empty is like none."""
        return bool(self._nearest(_directions(pixels[None]), label)[0] >= self._enough)

    def _nearest(self, directions: Floats, label: int) -> Floats:
        """Return the cosine of each (N,) with the example of a class that it is nearest to."""
        return np.asarray((directions @ self._examples[label].T).max(axis=1), np.float32)


def of(dataset: str, *, height: int, width: int, classes: Sequence[str]) -> Likeness | None:
    """Return what is like the images of a data set that comes with this package; None of any other.

    Raises:
        DataError: its files are damaged.
    """
    published = CATALOGUE.get(dataset)
    if published is None or published.folder is None or published.validation is None or not published.folder.is_dir():
        return None
    if tuple(classes) != published.class_names:
        return None
    files = [published.folder / f"{stem}.gz" for stem in STEMS[:2]]
    images = next(idx.stream(files[0], height=height, width=width, rows=published.validation + EXAMPLES))
    labels = _labels(files[1])[: len(images)]
    return Likeness(images, labels, held_out=published.validation)


def _labels(path: Path) -> Bytes:
    return idx.read(path.read_bytes(), name=path.name, kind="labels")


def _directions(images: Bytes) -> Floats:
    """Return the images (N, H, W) as vectors (N, H × W) of length 1."""
    blurred = gaussian_filter(images.astype(np.float32), (0, BLUR, BLUR)).reshape(len(images), -1)
    return np.asarray(blurred / np.maximum(np.linalg.norm(blurred, axis=1, keepdims=True), 1e-6), np.float32)
