"""Recognise and read the formats of a source: NumPy (`.npz`), UCR/UEA archive (`.ts`, `.tsv`), tables, images, IDX."""

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from pipeline.data import datasets, step_tables
from pipeline.data.contents import Array, Contents, RawPart, assemble, listed, padded
from pipeline.errors import DataError, UsageError, suggestion
from pipeline.kinds.kind import EXAMPLES
from pipeline.settings import DataSettings

Files = Mapping[str, Sequence[Path]]
"""The files of a source: by part, or IDX files by stem."""


def recognise(settings: DataSettings) -> tuple[str, Files]:
    """Return the format of the source (``archive``, ``arrays``, ``tables``, ``pictures`` or ``IDX``) and its files.

    Raises:
        DataError: the source does not exist or has none of these formats, or a part is missing or exists twice.
        UsageError: a folder holds several data sets, and ``dataset`` names none of them.
    """
    source = Path(settings.key)
    if not source.exists():
        raise DataError(f"source: must be a file or folder that exists; {source} does not. See docs/data.md.")
    finders: dict[str, Callable[[Path], Files]] = {
        "archive": lambda folder: _find_archive(folder, _chosen(settings)),
        "arrays": lambda file: {"train": [file]} if file.suffix == ".npz" else {},
        "tables": step_tables.find,
        "pictures": _find_pictures,
        "IDX": datasets.find_idx,
    }
    for name, find in finders.items():
        if files := find(source):
            return name, files
    has = listed(path.name for path in sorted(source.iterdir())) if source.is_dir() else "none of these formats"
    raise DataError(
        f"source: must be a folder with the four files {', '.join(datasets.STEMS)}, plain or as .gz, a NumPy file "
        "(.npz), a table (.parquet, .csv), a folder with the tables train.* and test.* or with NAME_TRAIN.ts and "
        f"NAME_TEST.ts, or a folder of images with one subfolder per class (docs/data.md); {source} has {has}."
    )


def _chosen(settings: DataSettings) -> str:
    """Return the name of the data set if it was given; else an empty text."""
    return "" if settings.dataset == DataSettings.dataset else settings.dataset


def read(settings: DataSettings) -> Contents:
    """Return the content of the source.

    Raises:
        DataError: the source has no known format, is damaged, or is unfit for training.
        UsageError: ``columns`` or ``image_size`` is malformed or does not apply to this format.
    """
    found, files = recognise(settings)
    for option, its_format in (("columns", "tables"), ("image_size", "pictures")):
        if getattr(settings, option) and found != its_format:
            raise UsageError(f"{option}: is only for {its_format}; {settings.key} has {found}. Leave it out.")
    source = Path(settings.key)
    own = source.name if source.is_dir() else source.stem
    name = re.sub("[^A-Za-z0-9_-]+", "-", _chosen(settings) or own).strip("-")[:60] or "data"
    if found == "IDX":
        return datasets.contents_of({stem: (str(path), path.read_bytes()) for stem, [path] in files.items()})
    if found == "tables":
        return assemble(name, *step_tables.read({part: path for part, [path] in files.items()}, settings.columns))
    if found == "arrays":
        parts = read_arrays(source)
    elif found == "archive":
        parts = {part: read_archive(path) for part, [path] in files.items()}
    else:
        parts = {part: read_images(source, paths, settings.image_size) for part, paths in files.items()}
    train = parts["train"].examples
    count = 0 if train.dtype == np.uint8 else train.shape[-1]
    return assemble(name, tuple(f"feature_{number}" for number in range(count)), parts)


# --- arrays: x_train, y_train, x_test, y_test, and perhaps x_val, y_val ---------------------------------------------


def read_arrays(path: Path) -> dict[str, RawPart]:
    """Return the parts in an ``.npz`` file.

    Raises:
        DataError: an array is missing or damaged, holds objects, or has a wrong shape or type.
    """
    arrays = _load(path)
    suffixes = {"train": "train", "test": "test"} | ({"validation": "val"} if "x_val" in arrays else {})
    needed = [f"{array}_{suffix}" for suffix in suffixes.values() for array in "xy"]
    if not set(needed) <= set(arrays):
        raise DataError(f"{path}: needs the arrays {listed(needed)}; it has {listed(sorted(arrays))}.")
    return {
        part: _array_part(arrays[f"x_{suffix}"], arrays[f"y_{suffix}"], f"{path}, x_{suffix}")
        for part, suffix in suffixes.items()
    }


def read_array(path: Path) -> RawPart:
    """Return the examples in an ``.npz`` file, with empty labels: the array ``x``, else ``x_test``, else the only one.

    Raises:
        DataError: there is no such array, or it is damaged, holds objects, or has a wrong shape or type.
    """
    arrays = _load(path)
    name = next((each for each in ("x", "x_test", *arrays) if each in arrays), "")
    if name not in ("x", "x_test") and len(arrays) != 1:
        raise DataError(f"{path}: needs an array x or x_test; it has {listed(sorted(arrays))}.")
    return _array_part(arrays[name], np.full(len(arrays[name]), ""), f"{path}, {name}")


def _load(path: Path) -> dict[str, Array]:
    """Return the arrays in an ``.npz`` file by name."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: must have the arrays x_train, y_train, x_test and y_test of numbers or texts, as numpy.savez "
            f"writes them; reading failed: {error}. Pad sequences to one length with NaN instead of storing objects."
        ) from None


def _array_part(examples: Array, labels: Array, source: str) -> RawPart:
    """Return arrays as a part: sequences (N, T) become (N, T, 1), labels (N, 1) or whole floats become texts (N,)."""
    if examples.dtype.kind not in "biuf" or examples.ndim not in (EXAMPLES - 1, EXAMPLES):
        raise DataError(
            f"{source}: must be numbers (N, T, F) or (N, T), or images of uint8 (N, H, W); got {examples.dtype} "
            f"{examples.shape}."
        )
    if labels.dtype.kind == "f" and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biuU":
        raise DataError(f"{source}: its labels must be integers or texts (N,); got {labels.dtype}.")
    if examples.ndim < EXAMPLES:
        examples = examples.astype(np.float32)[..., np.newaxis]
    return RawPart(source=source, examples=examples, labels=labels.ravel().astype(np.str_))


# --- the UCR/UEA archive: NAME_TRAIN.ts and NAME_TEST.ts, or .tsv as of 2018 ----------------------------------------


def _find_archive(source: Path, dataset: str) -> Files:
    """Return the data set in a folder or its subfolders.

    Raises:
        UsageError: there are several data sets and ``dataset`` is empty, or it names none of them.
        DataError: the training or the test part is missing, or exists twice.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted([*source.glob("*_T*.ts*"), *source.glob("*/*_T*.ts*")]):
        if match := re.fullmatch(r"(.+)_(TEST|TRAIN)\.tsv?", path.name):
            found[match[1]].append(path)
    if not found:
        return {}
    name = dataset or min(found)
    if name not in found or (not dataset and len(found) > 1):
        raise UsageError(
            f"dataset: must be one of the data sets in {source}, {', '.join(found)}; got {dataset or 'none'}."
            + suggestion(dataset, found)
        )
    if [f"{name}_TEST", f"{name}_TRAIN"] != [path.stem for path in found[name]]:
        raise DataError(
            f"{source}: must have {name}_TRAIN and {name}_TEST, each once, as .ts or .tsv; it has "
            f"{listed(path.name for path in found[name])}."
        )
    test, train = found[name]
    return {"train": [train], "test": [test]}


def read_archive(path: Path, *, labelled: bool = True) -> RawPart:
    """Return the examples in a file, one per line; ``?`` and ``NaN`` are missing values.

    A line of a ``.ts`` file holds the features and then the label, with colons between; a line of a ``.tsv`` file the
    label and the values of the only feature. Without ``labelled``, a ``.ts`` file may say ``@classLabel false``.

    Raises:
        DataError: there are no labels, or a line is not an example.
    """
    text, is_ts = path.read_text(encoding="utf-8", errors="replace"), path.suffix.lower() == ".ts"
    start = re.search(r"(?mi)^@data[ \t]*$", text)
    header = text[: start.end()] if start else ""
    has_labels = re.search(r"(?mi)^@classlabel[ \t]+true", header)
    if is_ts and ((labelled and not has_labels) or re.search(r"(?mi)^@timestamps[ \t]+true", header)):
        raise DataError(
            f"{path}: must have a header with @classLabel true and the labels, without time stamps, and a line @data; "
            f"it begins with {text[:40]!r} …"
        )
    lines, labels, examples = [], [], list[Array]()
    for number, line in enumerate(map(str.strip, text[len(header) :].split("\n")), header.count("\n") + 1):
        if line:
            *features, label = f"{line}{'' if has_labels else ':'}".split(":") if is_ts else line.split("\t", 1)[::-1]
            lines.append(number)
            labels.append(label)
            examples.append(_values(features, f"{path}, line {number}"))
            if len(features) != examples[0].shape[1]:
                raise DataError(
                    f"{path}, line {number}: must have {examples[0].shape[1]} features; got {len(features)}."
                )
    longest = max(map(len, examples), default=0)
    padding = [padded(example[np.newaxis], longest) for example in examples]
    stacked = np.concatenate(padding) if padding else np.empty((0, 0, 0))
    return RawPart(source=str(path), examples=stacked, labels=np.array(labels), lines=np.array(lines))


def _values(features: Sequence[str], line: str) -> Array:
    """Return the values of an example (T, F), features with fewer values filled up with NaN."""
    values = (re.split("[,\t]", feature.replace("?", "nan")) for feature in features)
    try:
        return np.array([*zip_longest(*values, fillvalue="nan")], np.float32).reshape(-1, len(features))
    except ValueError as error:
        raise DataError(f"{line}: must have numbers, or ? for a missing one; reading failed: {error}.") from None


# --- folders of images: one subfolder per class, perhaps in train/ and test/ ----------------------------------------


def _find_pictures(source: Path) -> Files:
    """Return the PNG and JPEG files in the subfolders of a folder, or of its subfolders ``train`` and ``test``."""
    parts = {part: _pictures_in(source / part) for part in ("train", "test")}
    parts = parts if parts["train"] else {"train": _pictures_in(source)}
    return {part: paths for part, paths in parts.items() if paths}


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*/[!.]*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def read_images(folder: Path, paths: Sequence[Path], size: int) -> RawPart:
    """Return the images of a folder in grey, scaled to ``size`` pixels per side if it is not 0.

    Their labels are the names of the folders that they are in.

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


def _read_image(path: Path, size: int) -> Array:
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
