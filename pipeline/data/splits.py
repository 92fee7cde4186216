"""The three splits of a data set, and the training examples that are held out for validation.

Published sets of 60,000 hold out their first 5,000 training images for
validation; of all other data one tenth of each class is drawn with a fixed
seed. The test split comes with the data.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline import disk
from pipeline.kinds.kind import Kind

SPLITS = ("train", "validation", "test")

SPLIT_SEED = 20_240_501
"""Seed of every split made here. It is not a setting, so runs with different seeds use the same split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Examples and their labels.

    Attributes:
        examples: images (N, H, W), uint8, or sequences (N, T, F), float32, padded with NaN at the end.
        labels: (N,), whole numbers from 0.
        ids: the name of each example in its source, or its position, (N,); None for examples of IDX files.
    """

    examples: NDArray[Any]
    labels: NDArray[Any]
    ids: NDArray[Any] | None = None

    def take(self, chosen: NDArray[np.intp]) -> Self:
        """Return some of the examples."""
        arrays = {name: each[chosen] for name, each in vars(self).items() if isinstance(each, np.ndarray)}
        return replace(self, **arrays)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A processed data set.

    Args:
        name: name of a published data set, or another name that ends in 8 digits of the digest.
        digest: digest of the raw data, 64 hexadecimal digits.
        source: its origin: an address, a folder, or ``scikit-learn``.
        kind: the kind of its examples.
        class_names: one per label, from 0.
        train: training examples.
        validation: examples that select the best epoch.
        test: examples for the final evaluation.
        folder: folder of the processed data.
    """

    name: str
    digest: str
    source: str
    kind: Kind
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    folder: Path

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def digest8(self) -> str:
        """The first digits of the digest, as in the name of the folder."""
        return self.digest[: disk.SHORT]


def hold_out(
    labels: NDArray[Any], *, first: int | None = None, fraction: float = 1 / 10
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices into ``labels`` of the examples for training and of the held-out examples.

    Without a convention, a fraction is drawn with a fixed seed, in proportion to the classes, but at least as many
    examples as there are classes. If a class has only one example, that example is used for training.

    Args:
        labels: labels of all examples (N,), at least 2.
        first: number of first examples that are held out by the convention of a known data set; None if there is none.
        fraction: fraction of the examples to hold out if there is no convention.
    """
    everything = np.arange(len(labels))
    if first:
        return everything[first:], everything[:first]
    from sklearn.model_selection import train_test_split

    repeated = everything[np.bincount(labels)[labels] > 1]  # may be empty: every class has one example
    divisible, stratify = (repeated, labels[repeated]) if len(repeated) else (everything, None)
    held_out = max(math.ceil(fraction * len(divisible)), 0 if stratify is None else len(np.unique(stratify)))
    _, validation = train_test_split(divisible, test_size=held_out, random_state=SPLIT_SEED, stratify=stratify)
    return np.setdiff1d(everything, validation), np.sort(validation)
