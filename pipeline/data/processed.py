"""The processed data set: raw images and labels in three splits, kept so that they can be memory-mapped.

    <data_dir>/processed/<name>-<digest8>/
        {train,validation,test}_images.npy    uint8 (N, H, W), 0–255
        {train,validation,test}_labels.npy    uint8 (N,), from 0
        examples.csv                          split, index in its IDX file and label of each image
        manifest.json

How the splits are made up is in ``splits.py``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ValidationError

from pipeline import digests, disk
from pipeline.data import datasets, folders, raw_data, splits
from pipeline.data.raw_data import MANIFEST, RawData
from pipeline.data.splits import SPLITS, Bytes, DataSet, Part, Split
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.settings import DataSettings

EXAMPLES = "examples.csv"
FILES = (EXAMPLES, *(f"{split}_{what}.npy" for split in SPLITS for what in ("images", "labels")))


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
        raw: what :func:`pipeline.data.raw_data.locate` gives.
        data_dir: holds the processed data sets, in ``processed``.
        code: digest of the code that does this, to be recorded.

    Raises:
        DataError: the raw files do not make up a data set that can be split and learned, or have changed.
    """
    published = datasets.CATALOGUE.get(raw.name)
    parts = splits.divide(raw_data.read_arrays(raw), published)
    classes = 1 + max(int(part.split.labels.max()) for part in parts.values())
    class_names = published.class_names if published else tuple(str(label) for label in range(classes))
    folder = folder_of(data_dir, raw.name, raw.digest)
    with disk.new_folder(folder) as incoming:
        _write(incoming, parts, raw=raw, class_names=class_names, code=code)
    return load(folder)


def _write(folder: Path, parts: Mapping[str, Part], *, raw: RawData, class_names: tuple[str, ...], code: str) -> None:
    for name, part in parts.items():
        _save(folder / f"{name}_images.npy", part.split.images)
        _save(folder / f"{name}_labels.npy", part.split.labels)
    _write_examples(folder / EXAMPLES, parts)
    height, width = parts["train"].split.images.shape[1:]
    manifest = _Manifest(
        name=raw.name,
        digest=raw.digest,
        source=raw.provenance.origin,
        height=height,
        width=width,
        classes=len(class_names),
        class_names=class_names,
        counts={name: len(part.index) for name, part in parts.items()},
        code=code,
        files={name: digests.of_file(folder / name) for name in FILES},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))


def _save(path: Path, array: Bytes) -> None:
    with path.open("wb") as file:
        # Given the file itself, NumPy writes past Python, and of a full disk says no more than how much is missing.
        np.save(SimpleNamespace(write=file.write), array)


def _write_examples(path: Path, parts: Mapping[str, Part]) -> None:
    import pandas as pd

    tables = [
        pd.DataFrame({"split": name, "index": part.index, "label": part.split.labels}) for name, part in parts.items()
    ]
    pd.concat(tables).to_csv(path, index=False)


# --- found again ----------------------------------------------------------------------------------------------------


def processed_folder(data_dir: Path) -> Path:
    """Return the folder that holds all processed data sets."""
    return data_dir / "processed"


def folder_of(data_dir: Path, name: str, digest: str) -> Path:
    """Return the folder of a processed data set, whether it is there or not.

    Raises:
        DataError: the name or the digest, which a store may have given, is none that this pipeline writes.
    """
    if not datasets.is_name(name) or not digests.is_digest(digest):
        raise DataError(
            f"dataset: expected the name of a known data set or custom-<digest8>, and a digest of 64 hexadecimal "
            f"digits, received {name!r} and {digest!r}. The store or the file that says so is not of this pipeline."
        )
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


def find(settings: "DataSettings") -> DataSet:
    """Return the processed data set that the settings name, checked to be intact.

    Raises:
        DataError: it has not been downloaded or preprocessed yet, or a file of it has changed.
    """
    raw = raw_data.locate(settings)
    dataset = _find(settings.data_dir, raw.name, raw.digest, settings.command("preprocess"))
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
    """Return the manifest in a folder; None where there is none that :func:`save` would have written there."""
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
    ours = folder.name == f"{manifest.name}-{manifest.digest[: digests.SHORT]}" and datasets.is_name(manifest.name)
    return manifest if ours and set(manifest.files) == set(FILES) else None


def _map(folder: Path, split: str, what: str) -> Bytes:
    array: Bytes = np.load(folder / f"{split}_{what}.npy", mmap_mode="r")
    return array
