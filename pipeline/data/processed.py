"""The processed data set: raw examples and labels in three splits, stored for memory-mapping.

    <data_dir>/processed/<name>-<digest8>/
        {train,validation,test}_images.npy    uint8 (N, H, W), 0–255; or …
        …_sequences.npy                       float32 (N, T, F), NaN after the end of each
        {train,validation,test}_labels.npy    (N,), from 0
        {train,validation,test}_ids.npy       (N,), where the source names its examples
        examples.csv                          split, index in its file and label of each example, and its id
        manifest.json

``splits.py`` decides which example is in which split.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data import datasets, splits, stored
from pipeline.data.splits import SPLITS, DataSet, Indices, Split
from pipeline.data.stored import Stored
from pipeline.errors import DataError
from pipeline.kinds import known
from pipeline.progress import Reporter
from pipeline.settings import DataSettings

# --- made from raw data ---------------------------------------------------------------------------------------------


def split(raw: Stored, data_dir: Path, reporter: Reporter) -> DataSet:
    """Return raw data in three splits, which are made unless an intact, unchanged copy exists.

    Args:
        raw: verified raw data.
        data_dir: folder whose subfolder ``processed`` holds the processed data sets.
        reporter: shows the result, and which classes are too small.

    Raises:
        DataError: the data cannot be split and learned.
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
        reporter.note(f"Preprocessed {data.name} into {data.folder}: {counts} {data.kind.name}.")
    for remark in splits.remarks(data):
        reporter.note(remark)
    return data


def _save(raw: Stored, data_dir: Path) -> Stored:
    """Split and store raw data."""
    parts, published = stored.read(raw), datasets.CATALOGUE.get(raw.name)
    train, class_names = parts["train"], raw.class_names
    if not class_names:  # labels of IDX files are only numbers
        largest = max(int(part.labels.max()) for part in parts.values())
        class_names = published.class_names if published else tuple(map(str, range(largest + 1)))
    chosen = {name: (part, np.arange(len(part.labels))) for name, part in parts.items()}
    if "validation" not in parts:
        held_out = splits.hold_out(train.labels, first=published.validation if published else None)
        chosen |= {"train": (train, held_out[0]), "validation": (train, held_out[1])}
    kind = known.of(train.examples[chosen["train"][1]], raw.features)
    made = {
        "folder": folder_of(data_dir, raw.name, raw.digest),
        "code": code(),
        "class_names": class_names,
        "kind": kind.name,
        "example": kind.description(),
    }
    return raw.model_copy(update=made).write(_files(kind.name, chosen))


def _files(kind: str, chosen: Mapping[str, tuple[Split, Indices]]) -> Iterator[tuple[str, bytes | NDArray[Any]]]:
    """Yield the files of a processed data set: the chosen examples of a part of the source for each split."""
    import pandas as pd

    tables = []
    for split in SPLITS:
        part, index = chosen[split]
        yield f"{split}_{kind}.npy", part.examples[index]
        yield f"{split}_labels.npy", part.labels[index]
        ids = {} if part.ids is None else {"id": part.ids[index]}
        if part.ids is not None:
            yield f"{split}_ids.npy", part.ids[index]
        tables.append(pd.DataFrame({"split": split, "index": index, "label": part.labels[index], **ids}))
    yield "examples.csv", pd.concat(tables).to_csv(index=False).encode()


def code() -> str:
    """Return the digest of the code that decides the content of a processed data set."""
    return disk.code_digest("data/processed.py")


# --- found again ----------------------------------------------------------------------------------------------------


def processed_folder(data_dir: Path) -> Path:
    """Return the folder that holds all processed data sets."""
    return data_dir / "processed"


def folder_of(data_dir: Path, name: str, digest: str) -> Path:
    """Return the folder of a processed data set, whether it exists or not.

    Raises:
        DataError: the name or the digest, which may come from a server, is not one that this pipeline writes.
    """
    if not re.fullmatch(r"[\w-]{1,69}", name) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise DataError(
            "dataset: must be a name of letters, digits, _ and -, with a digest of 64 hexadecimal digits; "
            f"got {name!r} and {digest!r}. They come from a store or a file of another program."
        )
    return processed_folder(data_dir) / f"{name}-{digest[: disk.SHORT]}"


def find(settings: DataSettings) -> DataSet:
    """Return the processed data set that the settings name, after a check that it is intact.

    Raises:
        DataError: it has not been downloaded or preprocessed yet, or one of its files has changed.
    """
    raw = stored.locate(settings)
    return _load(_find(settings.data_dir, raw.name, raw.digest, settings.command("preprocess")))


def find_by_digest(data_dir: Path, name: str, digest: str) -> DataSet:
    """Return the processed data set of that name and full digest, after a check that it is intact.

    Raises:
        DataError: it does not exist, or one of its files has changed.
    """
    return _load(_find(data_dir, name, digest))


def _find(data_dir: Path, name: str, digest: str, command: str = "pipeline preprocess") -> Stored:
    folder = folder_of(data_dir, name, digest)
    found = Stored.read(folder)
    if found is None or found.digest != digest:
        raise DataError(
            f"data_dir: must have the processed data set {name} (digest {digest}) in {folder}. First run `{command}`."
        )
    found.verify()
    return found


def _load(found: Stored) -> DataSet:
    """Return a data set whose arrays are memory-mapped."""
    arrays = {name: np.load(found.folder / name, mmap_mode="r") for name in found.files if name.endswith(".npy")}
    parts = {
        split: Split(
            examples=arrays[f"{split}_{found.kind}.npy"],
            labels=arrays[f"{split}_labels.npy"],
            ids=arrays.get(f"{split}_ids.npy"),
        )
        for split in SPLITS
    }
    return DataSet(
        name=found.name,
        digest=found.digest,
        source=found.origin,
        kind=known.restored(found.kind, found.example),
        class_names=found.class_names,
        folder=found.folder,
        **parts,
    )


# --- made by other code ---------------------------------------------------------------------------------------------


def superseded(data_dir: Path) -> list[Path]:
    """Return the folders of processed data that other code made and that raw data can replace."""
    raw = {each.digest for each in Stored.all_in(stored.raw_folder(data_dir))}
    found = Stored.all_in(processed_folder(data_dir))
    return [each.folder for each in found if each.code != code() and each.digest in raw]


def remove_superseded(folder: Path, data_dir: Path, reporter: Reporter) -> None:
    """Remove a processed data set, if it is still superseded.

    Raises:
        DataError: the folder cannot be written to.
    """
    with stored.locked(processed_folder(data_dir), reporter):
        if folder in superseded(data_dir):
            disk.remove_folder(folder)
