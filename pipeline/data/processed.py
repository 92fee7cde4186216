"""The processed data set: raw images and labels in three splits, kept so that they can be memory-mapped.

    <data_dir>/processed/<name>-<digest8>/
        {train,validation,test}_images.npy    uint8 (N, H, W), 0–255
        {train,validation,test}_labels.npy    uint8 (N,), from 0
        examples.csv                          split, index in its IDX file and label of each image
        manifest.json

Published sets of 60,000 hold out their first 5,000 training images for
validation; of all other data one tenth of each class is drawn with a fixed
seed. The test split is the one that the data came with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from pipeline import digests
from pipeline.data import catalogue, folders, raw_data
from pipeline.data.catalogue import SPLIT_SEED, STEMS
from pipeline.data.raw_data import MANIFEST, RawData
from pipeline.errors import DataError
from pipeline.settings import DataSettings

SPLITS = ("train", "validation", "test")

EXAMPLES = "examples.csv"

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


class _Manifest(BaseModel):
    """What ``manifest.json`` holds. ``files``: the digest of each other file, by name; ``counts``: images by split."""

    name: str
    digest: str
    source: str
    height: int
    width: int
    classes: int
    class_names: tuple[str, ...]
    counts: dict[str, int]
    code: str
    files: dict[str, str]


# --- made from raw data ---------------------------------------------------------------------------------------------


def save(raw: RawData, *, data_dir: Path, code: str) -> DataSet:
    """Split raw data, keep the splits in their folder under ``data_dir``, and return them from there.

    Args:
        raw: what :func:`pipeline.raw_data.locate` gives.
        data_dir: holds the processed data sets, in ``processed``.
        code: digest of the code that does this, to be recorded.

    Raises:
        DataError: the raw files do not make up a data set that can be split and learned, or have changed.
    """
    train_images, train_labels, test_images, test_labels = arrays = raw_data.read_arrays(raw)
    published = catalogue.CATALOGUE.get(raw.name)
    validate(arrays, known_classes=len(published.class_names) if published else None)
    train, validation = hold_out(train_labels, first=published.validation if published else None)
    parts = {
        "train": (train, train_images[train], train_labels[train]),
        "validation": (validation, train_images[validation], train_labels[validation]),
        "test": (np.arange(len(test_labels)), test_images, test_labels),
    }
    classes = 1 + int(max(train_labels.max(), test_labels.max()))
    class_names = published.class_names if published else tuple(str(label) for label in range(classes))
    folder = folder_of(data_dir, raw.name, raw.digest)
    with folders.replacing(folder) as incoming:
        _write(incoming, parts, raw=raw, class_names=class_names, code=code)
        load(incoming)
    return load(folder)


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


def _write(
    folder: Path,
    parts: dict[str, tuple[Indices, Bytes, Bytes]],
    *,
    raw: RawData,
    class_names: tuple[str, ...],
    code: str,
) -> None:
    """Write all files of a data set. ``parts``: index in the source file, images and labels, by split."""
    for split, (_, images, labels) in parts.items():
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
    _write_examples(folder / EXAMPLES, parts)
    height, width = parts["train"][1].shape[1:]
    manifest = _Manifest(
        name=raw.name,
        digest=raw.digest,
        source=raw.provenance.origin,
        height=height,
        width=width,
        classes=len(class_names),
        class_names=class_names,
        counts={split: len(labels) for split, (_, _, labels) in parts.items()},
        code=code,
        files={path.name: digests.of_file(path) for path in sorted(folder.iterdir())},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))


def _write_examples(path: Path, parts: dict[str, tuple[Indices, Bytes, Bytes]]) -> None:
    import pandas as pd

    tables = [
        pd.DataFrame({"split": split, "index": index, "label": labels}) for split, (index, _, labels) in parts.items()
    ]
    pd.concat(tables).to_csv(path, index=False)


# --- found again ----------------------------------------------------------------------------------------------------


def processed_folder(data_dir: Path) -> Path:
    """Return the folder that holds all processed data sets."""
    return folders.expanded(data_dir) / "processed"


def folder_of(data_dir: Path, name: str, digest: str) -> Path:
    """Return the folder of a processed data set, whether it is there or not."""
    return processed_folder(data_dir) / f"{name}-{digest[: digests.SHORT]}"


def load(folder: Path) -> DataSet:
    """Return the data set in ``folder``, its arrays mapped from their files, not read: intact or not.

    Raises:
        DataError: there is none, or one whose files cannot be read.
    """
    manifest = _read(folder)
    if manifest is None:
        raise DataError(f"{folder}: expected a processed data set, found none. First run `pipeline preprocess`.")
    try:
        parts = {
            split: Split(images=_map(folder, split, "images"), labels=_map(folder, split, "labels")) for split in SPLITS
        }
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{folder}: expected a whole data set: {error}. Run `pipeline preprocess` again.") from None
    return DataSet(
        name=manifest.name,
        digest=manifest.digest,
        source=manifest.source,
        class_names=manifest.class_names,
        folder=folder,
        **parts,
    )


def find(settings: DataSettings) -> DataSet:
    """Return the processed data set that the settings name, checked to be intact.

    Raises:
        DataError: it has not been downloaded or preprocessed yet, or a file of it has changed.
    """
    raw = raw_data.locate(settings)
    dataset = _find(settings.data_dir, raw.name, raw.digest, raw_data.command("preprocess", settings))
    # The same content may have been obtained from somewhere else before.
    return replace(dataset, source=raw.provenance.origin)


def find_by_digest(data_dir: Path, name: str, digest: str) -> DataSet:
    """Return the processed data set of that name and (whole) digest, checked to be intact.

    Raises:
        DataError: it is not there, or a file of it has changed.
    """
    return _find(data_dir, name, digest, "pipeline preprocess")


def code_of(folder: Path) -> str | None:
    """Return the digest of the code that made the data set in ``folder``; None where there is no data set."""
    manifest = _read(folder)
    return manifest.code if manifest else None


def _find(data_dir: Path, name: str, digest: str, command: str) -> DataSet:
    folder = folder_of(data_dir, name, digest)
    manifest = _read(folder)
    if manifest is None or manifest.digest != digest:
        raise DataError(
            f"data_dir: expected the processed data set {name} (digest {digest}) in {folder}, found none. "
            f"First run `{command}`."
        )
    folders.check_files(folder, manifest.files, remedy=f"Run `{command}` to make it again.")
    return load(folder)


def _read(folder: Path) -> _Manifest | None:
    try:
        return _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _map(folder: Path, split: str, what: str) -> Bytes:
    array: Bytes = np.load(folder / f"{split}_{what}.npy", mmap_mode="r")
    return array
