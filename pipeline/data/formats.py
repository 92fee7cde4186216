"""Recognise and read formats other than IDX: NumPy, UCR/UEA archive, step tables, folders of images."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data import readers, step_tables
from pipeline.data.contents import Contents, assemble
from pipeline.errors import DataError, UsageError, reason

EXPECTED = (
    "a NumPy file (.npz) with x_train, y_train, x_test and y_test; a table (.parquet, .csv) with one row per step, or "
    "a folder with train.* and test.* of them; a folder with NAME_TRAIN.ts and NAME_TEST.ts; or a folder of images "
    "with one subfolder per class"
)
"""The possible sources other than a folder with four IDX files, for errors."""

Kind = Literal["sequences", "images"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """The format of a source, before it is read.

    Attributes:
        format: its name.
        kind: the kind of its content.
        name: name of the data set; only letters, digits, ``_`` and ``-``.
        files: paths by part.
    """

    format: Literal["arrays", "archive", "tables", "pictures"]
    kind: Kind
    name: str
    files: Mapping[str, Sequence[Path]]


def recognise(source: Path, dataset: str | None = None) -> Format | None:
    """Return the format of a source, reading only its beginning; None if it may be four IDX files.

    Args:
        source: a file or folder.
        dataset: the name of one of several data sets in a folder; otherwise a name for the only one.

    Raises:
        DataError: the source is a file of another format, or a part is missing or exists twice.
        UsageError: a folder holds several data sets, and ``dataset`` names none of them.
    """
    try:
        return _of_folder(source, dataset) if source.is_dir() else _of_file(source, dataset)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"source: expected a readable file or folder at {source}, received: {reason(error)}.") from None


def files_of(source: Path, dataset: str | None = None) -> list[Path]:
    """Return the files of a source that are read; none if it has none of these formats."""
    found = recognise(source, dataset)
    return [path for paths in found.files.values() for path in paths] if found else []


def read(
    source: Path, *, dataset: str | None = None, columns: str | None = None, image_size: int | None = None
) -> Contents:
    """Return the content of a source.

    Args:
        source: a file or folder.
        dataset: the name of one of several data sets in a folder; otherwise a name for the only one.
        columns: for a table, the names of the columns that are not features: ``id=…,time=…,label=…``.
        image_size: for a folder of images, the side in pixels to which they are scaled.

    Raises:
        DataError: the source has none of the formats, is damaged, or is unfit for training.
        UsageError: an argument is malformed or does not apply to this format.
    """
    found = recognise(source, dataset)
    if found is None:
        raise DataError(f"source: expected {EXPECTED}; received {source}.")
    for option, value, its_format in (("columns", columns, "tables"), ("image_size", image_size, "pictures")):
        if value is not None and found.format != its_format:
            raise UsageError(f"{option}: expected a source of {its_format}, received {found.format} in {source}.")
    if found.format == "tables":
        features, parts, notes = step_tables.read({part: paths[0] for part, paths in found.files.items()}, columns)
        return assemble(found.name, features, parts, notes)
    if found.format == "arrays":
        parts = readers.read_arrays(source)
    elif found.format == "archive":
        parts = {part: readers.read_archive(paths[0]) for part, paths in found.files.items()}
    else:
        parts = {part: readers.read_images(source, paths, image_size) for part, paths in found.files.items()}
    count = parts["train"].examples.shape[-1] if found.kind == "sequences" else 0
    return assemble(found.name, tuple(f"feature_{number}" for number in range(count)), parts)


def _of_folder(folder: Path, dataset: str | None) -> Format | None:
    if archive := readers.find_archive(folder, dataset):
        name, files = archive
        return Format(format="archive", kind="sequences", name=_name(name), files=files)
    name = _name(dataset or folder.resolve().name)
    if files := step_tables.find(folder):
        return Format(format="tables", kind="sequences", name=name, files=files)
    if files := readers.find_images(folder):
        return Format(format="pictures", kind="images", name=name, files=files)
    return None


def _of_file(file: Path, dataset: str | None) -> Format:
    name, files = _name(dataset or file.stem), {"train": [file]}
    if zipfile.is_zipfile(file) or file.suffix == ".npz":
        kind: Kind = "images" if readers.holds_images(file) else "sequences"
        return Format(format="arrays", kind=kind, name=name, files=files)
    if step_tables.is_table(file):
        return Format(format="tables", kind="sequences", name=name, files=files)
    raise DataError(f"source: expected {EXPECTED}; received the file {file}, which has none of these formats.")


def _name(text: str) -> str:
    return re.sub("[^A-Za-z0-9_-]+", "-", text).strip("-") or "data"
