"""Read files of examples: NumPy arrays (``.npz``), UCR/UEA archive (``.ts``, ``.tsv``), folders of images."""

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.data.contents import Array, RawPart, listed
from pipeline.errors import DataError, UsageError, suggestion

Files = dict[str, list[Path]]
"""The files of a source, by part."""

NDIM = 3
"""Dimensions of images (N, H, W) and of sequences (N, T, F)."""


def _positions(labels: Sequence[str] | Array) -> Array:
    """Return positions as ids."""
    return np.arange(len(labels)).astype(np.str_)


# --- arrays: x_train, y_train, x_test, y_test, and perhaps x_val, y_val ---------------------------------------------


def holds_images(path: Path) -> bool:
    """Return whether the training examples in an ``.npz`` file are images, uint8 (N, H, W), from the array's header.

    Raises:
        DataError: the file is not a whole archive of NumPy arrays, or has no training examples.
    """
    with _explained(path), zipfile.ZipFile(path) as archive, archive.open("x_train.npy") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return bool(dtype == np.uint8) and len(shape) == NDIM


def read_arrays(path: Path) -> dict[str, RawPart]:
    """Return the parts in an ``.npz`` file.

    Raises:
        DataError: an array is missing or damaged, holds objects, or has a wrong shape or type.
    """
    with _explained(path), np.load(path, allow_pickle=False) as file:
        suffixes = {"train": "train", "test": "test"} | ({"validation": "val"} if "x_val" in file else {})
        expected = [f"{array}_{suffix}" for suffix in suffixes.values() for array in "xy"]
        if not set(expected) <= set(file.files):
            raise DataError(f"{path}: expected the arrays {listed(expected)}, received {listed(sorted(file.files))}.")
        arrays = {part: (file[f"x_{suffix}"], file[f"y_{suffix}"]) for part, suffix in suffixes.items()}
        return {part: _array_part(*arrays[part], f"{path}, x_{suffix}") for part, suffix in suffixes.items()}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what NumPy and zipfile raise about a damaged file, or one with objects, into an error that names it."""
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected the arrays x_train, y_train, x_test and y_test of numbers or texts, as numpy.savez "
            f"writes them, received: {error}. Arrays of objects are not read; pad sequences to one length with NaN."
        ) from None


def read_array(path: Path) -> RawPart:
    """Return the examples in an ``.npz`` file without labels: the array ``x``, else ``x_test``, else the only one.

    Raises:
        DataError: there is no such array, or it is damaged, holds objects, or has a wrong shape or type.
    """
    with _explained(path), np.load(path, allow_pickle=False) as file:
        names = [each for each in ("x", "x_test") if each in file] or list(file.files)
        if names[0] not in ("x", "x_test") and len(names) > 1:
            raise DataError(f"{path}: expected an array x or x_test, received {listed(sorted(names))}.")
        examples = file[names[0]]
    return _array_part(examples, np.zeros(len(examples), int), f"{path}, {names[0]}")


def _array_part(examples: Array, labels: Array, source: str) -> RawPart:
    """Return arrays as a part: sequences (N, T) become (N, T, 1), labels (N, 1) or whole floats become texts (N,)."""
    if examples.dtype.kind not in "biuf" or examples.ndim not in (NDIM - 1, NDIM):
        raise DataError(
            f"{source}: expected examples of numbers (N, T, F) or (N, T), or images of uint8 (N, H, W), "
            f"received {examples.dtype} {examples.shape}."
        )
    whole = labels.dtype.kind == "f" and bool((labels % 1 == 0).all())
    if labels.shape not in (labels.shape[:1], (*labels.shape[:1], 1)) or not (whole or labels.dtype.kind in "biuUS"):
        raise DataError(
            f"{source}: expected labels (N,) that are integers or texts, received {labels.dtype} {labels.shape}."
        )
    texts = (labels.astype(np.int64) if whole else labels).ravel().astype(np.str_)
    if examples.ndim < NDIM:
        examples = examples.astype(np.float32)[..., np.newaxis]
    return RawPart(source=source, examples=examples, labels=texts, ids=_positions(texts))


# --- the UCR/UEA archive: NAME_TRAIN.ts and NAME_TEST.ts, or .tsv as of 2018 ----------------------------------------


def find_archive(folder: Path, dataset: str | None) -> tuple[str, Files] | None:
    """Return the name of a data set in a folder or its subfolders and the files of its parts; None if there are none.

    Raises:
        UsageError: there are several data sets and ``dataset`` is None, or it names none of them.
        DataError: the training or the test part is missing, or is there twice.
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
            f"dataset: expected one of those in {folder}, {', '.join(found)}; received {dataset or 'none'}."
            + suggestion(dataset or "", found)
        )
    if [f"{name}_TEST", f"{name}_TRAIN"] != [path.stem for path in found[name]]:
        raise DataError(
            f"{folder}: expected {name}_TRAIN and {name}_TEST, each once, as .ts or .tsv, "
            f"received {listed(path.name for path in found[name])}."
        )
    test, train = found[name]
    return name, {"train": [train], "test": [test]}


def read_archive(path: Path, *, labelled: bool = True) -> RawPart:
    """Return the examples in a file, one per line; ``?`` and ``NaN`` are missing values.

    Without ``labelled``, a ``.ts`` file may say ``@classLabel false``, and a label may be any text.

    A line of a ``.ts`` file holds the features and then the label, with colons between; a line of a ``.tsv`` file the
    label and the values of the only feature.

    Raises:
        DataError: there are no labels, or a line is not an example.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    is_ts = path.suffix == ".ts"
    start = re.search(r"(?mi)^@data[ \t]*$", text)
    header = text[: start.end()] if start else ""
    names = re.search(r"(?mi)^@classlabel[ \t]+true(.*)$", header)
    if is_ts and ((labelled and names is None) or re.search(r"(?mi)^@timestamps[ \t]+true", header)):
        raise DataError(
            f"{path}: expected a header with @classLabel true and the labels, without time stamps, and a line @data, "
            f"received {text[:40]!r} …"
        )
    known = names[1].split() if names else []
    labels, examples = [], list[list[Array]]()
    for number, line in enumerate(text[len(header) :].split("\n"), header.count("\n") + 1):
        if line.strip():
            *features, label = line.strip().split(":") if is_ts else line.strip().split("\t", 1)[::-1]
            if is_ts and names is None:
                features, label = [*features, label], ""
            where = f"{path}, line {number}"
            if labelled and known and label not in known:
                raise DataError(f"{where}: expected one of the labels {listed(known)}, received {label[:40]!r}.")
            if examples and len(features) != len(examples[0]):
                raise DataError(f"{where}: expected {len(examples[0])} features, received {len(features)}.")
            try:
                values = [np.array(re.split("[,\t]", feature.replace("?", "nan")), np.float32) for feature in features]
            except ValueError as error:
                raise DataError(f"{where}: expected numbers, received: {error}.") from None
            labels.append(label)
            examples.append(values)
    return RawPart(source=str(path), examples=_stacked(examples), labels=np.array(labels), ids=_positions(labels))


def _stacked(examples: list[list[Array]]) -> Array:
    """Return sequences, the values of each feature of each, as one array (N, T, F)."""
    longest = max((len(values) for example in examples for values in example), default=0)
    stacked = np.full((len(examples), longest, len(examples[0]) if examples else 0), np.nan, np.float32)
    for row, example in zip(stacked, examples, strict=True):
        for feature, values in enumerate(example):
            row[: len(values), feature] = values
    return stacked


# --- folders of images: one subfolder per class, perhaps in train/ and test/ ----------------------------------------


def find_images(folder: Path) -> Files:
    """Return the PNG and JPEG files of each part of a folder; there may be none."""
    parts = {part: _images(folder / part) for part in ("train", "test")}
    whole = parts if parts["train"] else {"train": _images(folder)}
    return {part: paths for part, paths in whole.items() if paths}


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*/[!.]*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def read_images(folder: Path, paths: Sequence[Path], size: int | None) -> RawPart:
    """Return images in grey, whose labels are the names of the folders that they are in.

    Args:
        folder: the source, for errors and ids.
        paths: of the images.
        size: the side, in pixels, of the square to which all are scaled; None: they have one size.

    Raises:
        DataError: a file is not a whole image, or has another size than the first.
    """
    images: list[Array] = []
    for path in paths:
        images.append(_read_image(path, size))
        if images[-1].shape != images[0].shape:
            expected, received = (" × ".join(map(str, image.shape)) for image in (images[0], images[-1]))
            raise DataError(
                f"{path}: expected {expected} pixels as in {paths[0]}, received {received}. "
                "Give image_size to scale all images to one size."
            )
    ids = np.array([path.relative_to(folder).as_posix() for path in paths])
    return RawPart(
        source=str(folder),
        examples=np.stack(images),
        labels=np.array([path.parent.name for path in paths]),
        ids=ids,
    )


def _read_image(path: Path, size: int | None) -> Array:
    """Return an image in grey, uint8 (H, W), turned the way its camera was held."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "I;16":  # of 16 bits, which Pillow would clip at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            grey = image.convert("L")
    except Exception as error:  # the decoders of Pillow raise errors of all kinds
        raise DataError(f"{path}: expected a PNG or JPEG image, received one that cannot be read: {error}.") from None
    return np.asarray(grey.resize((size, size)) if size else grey)
