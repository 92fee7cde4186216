"""The processed data set: raw images and labels in three splits, kept so that they can be memory-mapped.

    <data_dir>/processed/<name>-<digest8>/
        {train,validation,test}_images.npy    uint8 (N, H, W), 0–255
        {train,validation,test}_labels.npy    uint8 (N,), from 0
        examples.csv                          split, index in its IDX file and label of each image
        manifest.json

``splits.py`` decides which example is in which split.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from pipeline import digests, disk
from pipeline.data import datasets, raw_data, splits, stored
from pipeline.data.splits import SPLITS, DataSet, Split
from pipeline.data.stored import Stored
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.progress import Reporter
    from pipeline.settings import DataSettings

EXAMPLES = "examples.csv"


# --- made from raw data ---------------------------------------------------------------------------------------------


def split(raw: Stored, data_dir: Path, reporter: "Reporter") -> DataSet:
    """Return raw data in three splits: made unless they are there, unchanged and intact.

    Args:
        raw: verified.
        data_dir: holds the processed data sets, in ``processed``.
        reporter: told what was made, and which classes are too small.

    Raises:
        DataError: the files do not make up a data set that can be split and learned.
    """
    with stored.locked(processed_folder(data_dir), reporter):
        try:
            found = _find(data_dir, raw.name, raw.digest)
            unchanged = (found.code, found.origin) == (code(), raw.origin)
        except DataError:
            unchanged = False
        if not unchanged:
            found = _save(raw, data_dir)
    data = _load(found)
    if unchanged:
        reporter.note(f"Skipped preprocess: {data.name} in {data.folder} is unchanged and intact.")
    else:
        counts = ", ".join(f"{len(getattr(data, split).labels):,} {split}" for split in SPLITS)
        reporter.note(f"Preprocessed {data.name} into {data.folder}: {counts} images.")
    for remark in splits.remarks(data):
        reporter.note(remark)
    return data


def _save(raw: Stored, data_dir: Path) -> Stored:
    published = datasets.CATALOGUE.get(raw.name)
    arrays = raw_data.read_arrays(raw)
    splits.validate(arrays, known_classes=len(published.class_names) if published else None)
    classes = 1 + max(int(arrays[1].max()), int(arrays[3].max()))
    made = {
        "folder": folder_of(data_dir, raw.name, raw.digest),
        "code": code(),
        "class_names": published.class_names if published else tuple(map(str, range(classes))),
    }
    train, validation = splits.hold_out(arrays[1], first=published.validation if published else None)
    indices = dict(zip(SPLITS, (train, validation, np.arange(len(arrays[3]))), strict=True))
    return raw.model_copy(update=made).write(lambda folder: _write(folder, arrays, indices))


def _write(folder: Path, arrays: list[splits.Bytes], indices: dict[str, splits.Indices]) -> None:
    import pandas as pd

    tables = []
    for split, index in indices.items():
        images, labels = (array[index] for array in (arrays[2:] if split == "test" else arrays[:2]))
        for what, array in (("images", images), ("labels", labels)):
            with (folder / f"{split}_{what}.npy").open("wb") as file:
                # Given the file itself, NumPy would not say why it cannot be written.
                np.save(SimpleNamespace(write=file.write), array)
        tables.append(pd.DataFrame({"split": split, "index": index, "label": labels}))
    pd.concat(tables).to_csv(folder / EXAMPLES, index=False)


def code() -> str:
    """Return the digest of the code that decides the content of a processed data set."""
    return digests.of_code("data/processed.py")


# --- found again ----------------------------------------------------------------------------------------------------


def processed_folder(data_dir: Path) -> Path:
    """Return the folder that holds all processed data sets."""
    return data_dir / "processed"


def folder_of(data_dir: Path, name: str, digest: str) -> Path:
    """Return the folder of a processed data set, whether it exists or not.

    Raises:
        DataError: the name or the digest, which may come from a server, is not one that this pipeline writes.
    """
    if not datasets.is_name(name) or not digests.is_digest(digest):
        raise DataError(
            f"dataset: expected the name of a known data set or custom-<digest8>, and a digest of 64 hexadecimal "
            f"digits, received {name!r} and {digest!r}. The store or the file that says so is not of this pipeline."
        )
    return processed_folder(data_dir) / f"{name}-{digest[: digests.SHORT]}"


def find(settings: "DataSettings") -> DataSet:
    """Return the processed data set that the settings name, checked to be intact.

    Raises:
        DataError: it has not been downloaded or preprocessed yet, or a file of it has changed.
    """
    raw = raw_data.locate(settings)
    return _load(_find(settings.data_dir, raw.name, raw.digest, settings.command("preprocess")))


def find_by_digest(data_dir: Path, name: str, digest: str) -> DataSet:
    """Return the processed data set of that name and (whole) digest, checked to be intact.

    Raises:
        DataError: it is not there, or a file of it has changed.
    """
    return _load(_find(data_dir, name, digest))


def _find(data_dir: Path, name: str, digest: str, command: str = "pipeline preprocess") -> Stored:
    folder = folder_of(data_dir, name, digest)
    found = Stored.read(folder)
    if found is None or found.digest != digest:
        raise DataError(
            f"data_dir: expected the processed data set {name} (digest {digest}) in {folder}, found none. "
            f"First run `{command}`."
        )
    found.verify()
    return found


def _load(found: Stored) -> DataSet:
    """Return a data set, its arrays mapped from their files, not read."""
    arrays = {name: np.load(found.folder / name, mmap_mode="r") for name in found.files if name.endswith(".npy")}
    parts = {
        split: Split(images=arrays[f"{split}_images.npy"], labels=arrays[f"{split}_labels.npy"]) for split in SPLITS
    }
    return DataSet(
        name=found.name,
        digest=found.digest,
        source=found.origin,
        class_names=found.class_names,
        folder=found.folder,
        **parts,
    )


# --- made by other code ---------------------------------------------------------------------------------------------


def superseded(data_dir: Path) -> list[Path]:
    """Return the folders of processed data that other code has made and that can be made again from raw data."""
    found = filter(None, map(Stored.read, processed_folder(data_dir).glob("[!.]*")))
    raw = {stored.digest for path in raw_data.raw_folder(data_dir).glob("[!.]*") if (stored := Stored.read(path))}
    return sorted(each.folder for each in found if each.code != code() and each.digest in raw)


def remove_superseded(folder: Path, data_dir: Path, reporter: "Reporter") -> None:
    """Remove a processed data set, if it is still superseded.

    Raises:
        DataError: the folder cannot be written to.
    """
    with stored.locked(processed_folder(data_dir), reporter):
        if folder in superseded(data_dir):
            disk.remove_folder(folder)
