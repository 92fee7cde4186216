"""Images and labels in three splits: what makes them up, and which image goes where. No files are read here.

Published sets of 60,000 hold out their first 5,000 training images for
validation; of all other data one tenth of each class is drawn with a fixed
seed. The test split is the one that the data came with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline import digests
from pipeline.data.datasets import SPLIT_SEED, STEMS, Published
from pipeline.errors import DataError

SPLITS = ("train", "validation", "test")

HELD_OUT = 0.1
"""Fraction of the training images that goes to validation where no convention says which."""

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images (N, H, W) and their labels (N,), both uint8."""

    images: Bytes
    labels: Bytes


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A processed data set.

    Args:
        name: of a published data set, or ``custom-<digest8>``.
        digest: of the raw data, 64 hexadecimal digits.
        source: who gave it: an address, a folder, or ``scikit-learn``.
        class_names: one per label, from 0.
        train: what is trained on.
        validation: what chooses among the epochs.
        test: what is looked at last.
        folder: where all this is kept.
    """

    name: str
    digest: str
    source: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    folder: Path

    @property
    def height(self) -> int:
        """Rows of an image, in pixels."""
        return int(self.train.images.shape[1])

    @property
    def width(self) -> int:
        """Columns of an image, in pixels."""
        return int(self.train.images.shape[2])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def digest8(self) -> str:
        """The digits of the digest that the folder carries."""
        return self.digest[: digests.SHORT]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A split, and the index of each of its images in the file that they came in (N,)."""

    split: Split
    index: Indices


def divide(arrays: Sequence[Bytes], published: Published | None) -> dict[str, Part]:
    """Return the splits that four arrays make up, by name.

    Args:
        arrays: training images (N, H, W) and labels (N,), test images (M, H, W) and labels (M,).
        published: what is published of the data set, where it is a known one.

    Raises:
        DataError: they do not make up a data set that can be split and learned.
    """
    validate(arrays, known_classes=len(published.class_names) if published else None)
    train_images, train_labels, test_images, test_labels = arrays
    train, validation = hold_out(train_labels, first=published.validation if published else None)
    return {
        "train": Part(split=Split(images=train_images[train], labels=train_labels[train]), index=train),
        "validation": Part(
            split=Split(images=train_images[validation], labels=train_labels[validation]), index=validation
        ),
        "test": Part(split=Split(images=test_images, labels=test_labels), index=np.arange(len(test_labels))),
    }


def labels_without_training(data: DataSet) -> list[int]:
    """Return the labels of test images that no training image has, held out for validation or not."""
    known = np.union1d(data.train.labels, data.validation.labels)
    return [int(label) for label in np.setdiff1d(data.test.labels, known)]


def validate(arrays: Sequence[Bytes], *, known_classes: int | None = None) -> None:
    """Check that four arrays, in the order of the files, make up a data set that can be split and learned.

    Args:
        arrays: training images (N, H, W) and labels (N,), test images (M, H, W) and labels (M,).
        known_classes: the number of classes, where the data set is a known one.

    Raises:
        DataError: counts or sizes that do not agree, too few images or classes, a label out of range.
    """
    train_images, train_labels, test_images, test_labels = arrays
    _check_counts(train_images, train_labels, STEMS[0], STEMS[1], least=2)
    _check_counts(test_images, test_labels, STEMS[2], STEMS[3], least=1)
    _check_sizes(train_images, test_images)
    _check_labels(train_labels, test_labels, known_classes)


def _check_counts(images: Bytes, labels: Bytes, images_name: str, labels_name: str, *, least: int) -> None:
    if len(images) != len(labels):
        raise DataError(
            f"{labels_name}: expected {len(images):,} labels, one for each image in {images_name}, "
            f"received {len(labels):,}. Check that both files belong to the same data."
        )
    if len(images) < least:
        raise DataError(f"{images_name}: expected at least {least} images, received {len(images)}. Take more data.")


def _check_sizes(train_images: Bytes, test_images: Bytes) -> None:
    expected, received = (" × ".join(map(str, images.shape[1:])) for images in (train_images, test_images))
    if 0 in train_images.shape:
        raise DataError(f"{STEMS[0]}: expected images of at least one pixel, received {expected}.")
    if expected != received:
        raise DataError(
            f"{STEMS[2]}: expected images of {expected} pixels, as in {STEMS[0]}, received {received}. "
            "Bring all images to one size."
        )


def _check_labels(train_labels: Bytes, test_labels: Bytes, known_classes: int | None) -> None:
    if train_labels.min() == train_labels.max():
        raise DataError(
            f"{STEMS[1]}: expected labels of at least 2 classes, received only the label {train_labels[0]}. "
            "There is nothing to tell apart."
        )
    for name, labels in ((STEMS[1], train_labels), (STEMS[3], test_labels)):
        if known_classes is not None and labels.max() >= known_classes:
            raise DataError(
                f"{name}: expected labels from 0 to {known_classes - 1}, received {labels.max()} "
                f"at example {int(labels.argmax()):,}."
            )


def hold_out(labels: Bytes, *, first: int | None = None) -> tuple[Indices, Indices]:
    """Return which training examples are trained on and which are held out for validation: indices into ``labels``.

    Args:
        labels: of all training examples (N,), at least 2.
        first: the convention of a known data set, to hold out its first so many. None, or not fewer than there are:
            a tenth of each class is drawn with a fixed seed; of all of them, where a class is too small for that.
    """
    everything = np.arange(len(labels))
    if first is not None and first < len(labels):
        return everything[first:], everything[:first]
    from sklearn.model_selection import train_test_split

    try:
        parts = train_test_split(everything, test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=labels)
    except ValueError:
        parts = train_test_split(everything, test_size=HELD_OUT, random_state=SPLIT_SEED)
    train, validation = (np.sort(part) for part in parts)
    return train, validation
