"""Recognise and read formats other than IDX: NumPy (`.npz`), UCR/UEA archive (`.ts`, `.tsv`), tables, image folders."""

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.data import step_tables
from pipeline.data.contents import Array, Contents, RawPart, assemble, listed
from pipeline.errors import DataError, UsageError, suggestion

WANTED = (
    "a NumPy file (.npz), a table (.parquet, .csv), a folder with the tables train.* and test.*, a folder with "
    "NAME_TRAIN.ts and NAME_TEST.ts, or a folder of images with one subfolder per class (docs/data.md)"
)
"""The possible sources other than a folder with four IDX files, for errors."""

NDIM = 3
"""Dimensions of images (N, H, W) and of sequences (N, T, F)."""

Files = Mapping[str, Sequence[Path]]
"""The files of a source, by part."""


class Format(NamedTuple):
    """The format of a source: ``arrays``, ``archive``, ``tables`` or ``pictures``; the data set's name; its files."""

    format: str
    name: str
    files: Files


def recognise(source: Path, dataset: str | None = None) -> Format | None:
    """Return the format of a source, reading only its beginning; None if it may be four IDX files.

    Args:
        source: a file or folder.
        dataset: the name of one of several data sets in a folder; otherwise a name for the only one.

    Raises:
        DataError: the source is a file of another format, or a part is missing or exists twice.
        UsageError: a folder holds several data sets, and ``dataset`` names none of them.
    """
    found = _of_folder(source, dataset) if source.is_dir() else _of_file(source, dataset)
    return found and found._replace(name=re.sub("[^A-Za-z0-9_-]+", "-", found.name).strip("-") or "data")


def _of_folder(folder: Path, dataset: str | None) -> Format | None:
    if archive := _find_archive(folder, dataset):
        return archive
    name = dataset or folder.resolve().name
    if files := step_tables.find(folder):
        return Format("tables", name, files)
    parts = {part: _find_images(folder / part) for part in ("train", "test")}
    files = parts if parts["train"] else {"train": _find_images(folder)}
    return Format("pictures", name, {part: paths for part, paths in files.items() if paths}) if files["train"] else None


def _of_file(file: Path, dataset: str | None) -> Format:
    name, files = dataset or file.stem, {"train": [file]}
    if zipfile.is_zipfile(file) or file.suffix == ".npz":
        return Format("arrays", name, files)
    if step_tables.is_table(file):
        return Format("tables", name, files)
    raise DataError(f"source: must be {WANTED}; the file {file} has none of these formats.")


def read(
    source: Path, *, dataset: str | None = None, columns: str | None = None, image_size: int | None = None
) -> Contents | None:
    """Return the content of a source; None if it has none of these formats and may be four IDX files.

    Args:
        source: a file or folder.
        dataset: the name of one of several data sets in a folder; otherwise a name for the only one.
        columns: for a table, the names of the columns that are not features: ``id=…,time=…,label=…``.
        image_size: for a folder of images, the side in pixels to which they are scaled.

    Raises:
        DataError: the source is damaged, or unfit for training.
        UsageError: an argument is malformed or does not apply to this format.
    """
    found = recognise(source, dataset)
    if found is None:
        return None
    for option, value, its_format in (("columns", columns, "tables"), ("image_size", image_size, "pictures")):
        if value is not None and found.format != its_format:
            raise UsageError(f"{option}: is only for {its_format}; {source} has {found.format}. Leave it out.")
    if found.format == "tables":
        features, parts, notes = step_tables.read({part: paths[0] for part, paths in found.files.items()}, columns)
        return assemble(found.name, features, parts, notes)
    if found.format == "arrays":
        parts = read_arrays(source)
    elif found.format == "archive":
        parts = {part: read_archive(paths[0]) for part, paths in found.files.items()}
    else:
        parts = {part: read_images(source, paths, image_size) for part, paths in found.files.items()}
    train = parts["train"].examples
    count = 0 if train.dtype == np.uint8 else train.shape[-1]
    return assemble(found.name, tuple(f"feature_{number}" for number in range(count)), parts)


# --- arrays: x_train, y_train, x_test, y_test, and perhaps x_val, y_val ---------------------------------------------


def read_arrays(path: Path) -> dict[str, RawPart]:
    """Return the parts in an ``.npz`` file.

    Raises:
        DataError: an array is missing or damaged, holds objects, or has a wrong shape or type.
    """
    with _explained(path), np.load(path, allow_pickle=False) as file:
        suffixes = {"train": "train", "test": "test"} | ({"validation": "val"} if "x_val" in file else {})
        needed = [f"{array}_{suffix}" for suffix in suffixes.values() for array in "xy"]
        if not set(needed) <= set(file.files):
            raise DataError(f"{path}: needs the arrays {listed(needed)}; it has {listed(sorted(file.files))}.")
        return {
            part: _array_part(file[f"x_{suffix}"], file[f"y_{suffix}"], f"{path}, x_{suffix}")
            for part, suffix in suffixes.items()
        }


def read_array(path: Path) -> RawPart:
    """Return the examples in an ``.npz`` file, with empty labels: the array ``x``, else ``x_test``, else the only one.

    Raises:
        DataError: there is no such array, or it is damaged, holds objects, or has a wrong shape or type.
    """
    with _explained(path), np.load(path, allow_pickle=False) as file:
        names = [each for each in ("x", "x_test") if each in file] or list(file.files)
        if names[0] not in ("x", "x_test") and len(names) > 1:
            raise DataError(f"{path}: needs an array x or x_test; it has {listed(sorted(names))}.")
        examples = file[names[0]]
        return _array_part(examples, np.full(len(examples), ""), f"{path}, {names[0]}")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors of NumPy and zipfile about a damaged file, or one with objects, into an error that names it."""
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: must have the arrays x_train, y_train, x_test and y_test of numbers or texts, as numpy.savez "
            f"writes them; reading failed: {error}. Arrays of objects are not read; pad sequences to one length with "
            "NaN."
        ) from None


def _array_part(examples: Array, labels: Array, source: str) -> RawPart:
    """Return arrays as a part: sequences (N, T) become (N, T, 1), labels (N, 1) or whole floats become texts (N,)."""
    if examples.dtype.kind not in "biuf" or examples.ndim not in (NDIM - 1, NDIM):
        raise DataError(
            f"{source}: must be numbers (N, T, F) or (N, T), or images of uint8 (N, H, W); got {examples.dtype} "
            f"{examples.shape}."
        )
    whole = labels.dtype.kind == "f" and bool((labels % 1 == 0).all())
    if labels.shape not in (labels.shape[:1], (*labels.shape[:1], 1)) or not (whole or labels.dtype.kind in "biuUS"):
        raise DataError(
            f"{source}: its labels must be integers or texts of the shape (N,); got {labels.dtype} {labels.shape}."
        )
    texts = (labels.astype(np.int64) if whole else labels).ravel().astype(np.str_)
    if examples.ndim < NDIM:
        examples = examples.astype(np.float32)[..., np.newaxis]
    return RawPart(source=source, examples=examples, labels=texts)


# --- the UCR/UEA archive: NAME_TRAIN.ts and NAME_TEST.ts, or .tsv as of 2018 ----------------------------------------


def _find_archive(folder: Path, dataset: str | None) -> Format | None:
    """Return the data set in a folder or its subfolders; None if there is none.

    Raises:
        UsageError: there are several data sets and ``dataset`` is None, or it names none of them.
        DataError: the training or the test part is missing, or exists twice.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted([*folder.glob("*_T*.ts*"), *folder.glob("*/*_T*.ts*")]):
        if match := re.fullmatch(r"(.+)_(TEST|TRAIN)\.tsv?", path.name):
            found[match[1]].append(path)
    if not found:
        return None
    name = dataset or min(found)
    if name not in found or (dataset is None and len(found) > 1):
        raise UsageError(
            f"dataset: must be one of the data sets in {folder}, {', '.join(found)}; got {dataset or 'none'}."
            + suggestion(dataset or "", found)
        )
    if [f"{name}_TEST", f"{name}_TRAIN"] != [path.stem for path in found[name]]:
        raise DataError(
            f"{folder}: must have {name}_TRAIN and {name}_TEST, each once, as .ts or .tsv; it has "
            f"{listed(path.name for path in found[name])}."
        )
    test, train = found[name]
    return Format("archive", name, {"train": [train], "test": [test]})


def read_archive(path: Path, *, labelled: bool = True) -> RawPart:
    """Return the examples in a file, one per line; ``?`` and ``NaN`` are missing values.

    Without ``labelled``, a ``.ts`` file may say ``@classLabel false``, and a label may be any text.

    A line of a ``.ts`` file holds the features and then the label, with colons between; a line of a ``.tsv`` file the
    label and the values of the only feature.

    Raises:
        DataError: there are no labels, or a line is not an example.
    """
    text, is_ts = path.read_text(encoding="utf-8", errors="replace"), path.suffix == ".ts"
    start = re.search(r"(?mi)^@data[ \t]*$", text)
    header = text[: start.end()] if start else ""
    has_labels = re.search(r"(?mi)^@classlabel[ \t]+true", header)
    if is_ts and ((labelled and not has_labels) or re.search(r"(?mi)^@timestamps[ \t]+true", header)):
        raise DataError(
            f"{path}: must have a header with @classLabel true and the labels, without time stamps, and a line @data; "
            f"it begins with {text[:40]!r} …"
        )
    rows = []
    for number, line in enumerate(map(str.strip, text[len(header) :].split("\n")), header.count("\n") + 1):
        if line:
            *features, label = line.split(":") if is_ts else line.split("\t", 1)[::-1]
            if is_ts and not has_labels:
                features, label = [*features, label], ""
            rows.append((number, label, _values(features, f"{path}, line {number}")))
    lines, labels, examples = zip(*rows, strict=True) if rows else ((), (), ())
    for number, example in zip(lines, examples, strict=True):
        if len(example) != len(examples[0]):
            raise DataError(f"{path}, line {number}: must have {len(examples[0])} features; got {len(example)}.")
    return RawPart(source=str(path), examples=_stacked(examples), labels=np.array(labels), lines=np.array(lines))


def _values(features: list[str], line: str) -> list[Array]:
    """Return the values of each feature of an example."""
    try:
        return [np.array(re.split("[,\t]", feature.replace("?", "nan")), np.float32) for feature in features]
    except ValueError as error:
        raise DataError(f"{line}: must have numbers, or ? for a missing one; reading failed: {error}.") from None


def _stacked(examples: Sequence[list[Array]]) -> Array:
    """Return sequences, the values of each feature of each, as one array (N, T, F)."""
    longest = max((len(values) for example in examples for values in example), default=0)
    stacked = np.full((len(examples), longest, len(examples[0]) if examples else 0), np.nan, np.float32)
    for row, example in zip(stacked, examples, strict=True):
        for feature, values in enumerate(example):
            row[: len(values), feature] = values
    return stacked


# --- folders of images: one subfolder per class, perhaps in train/ and test/ ----------------------------------------


def _find_images(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files in the subfolders of a folder."""
    return sorted(path for path in folder.glob("[!.]*/[!.]*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def read_images(folder: Path, paths: Sequence[Path], size: int | None) -> RawPart:
    """Return images in grey, whose labels are the names of the folders that they are in.

    Args:
        folder: the source, for errors and ids.
        paths: paths of the images.
        size: the side, in pixels, of the square to which all are scaled; None: they have one size.

    Raises:
        DataError: a file is not a whole image, or has another size than the first.
    """
    images: list[Array] = []
    for path in paths:
        images.append(_read_image(path, size))
        if images[-1].shape != images[0].shape:
            needed, found = (" × ".join(map(str, image.shape)) for image in (images[0], images[-1]))
            raise DataError(
                f"{path}: must have {needed} pixels like {paths[0]}; it has {found}. Give image_size to scale all "
                "images to one size."
            )
    return RawPart(
        source=str(folder),
        examples=np.stack(images),
        labels=np.array([path.parent.name for path in paths]),
        ids=np.array([path.relative_to(folder).as_posix() for path in paths]),
    )


def _read_image(path: Path, size: int | None) -> Array:
    """Return an image in grey, uint8 (H, W), turned the way its camera was held."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "I;16":  # 16 bits, which Pillow would clip at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            grey = image.convert("L")
    except Exception as error:  # the decoders of Pillow raise errors of all kinds
        raise DataError(f"{path}: must be a whole PNG or JPEG image; reading failed: {error}.") from None
    return np.asarray(grey.resize((size, size)) if size else grey)
