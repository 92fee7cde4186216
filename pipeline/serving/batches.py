"""Paths to answers, in parts, so that the memory stays the same however many images there are.

Paths name pictures, IDX and Parquet files and folders of them; their images
pass in parts, and each part becomes a table of answers (see ``answers``).
"""

import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import idx
from pipeline.errors import DataError, UsageError, first_line
from pipeline.machine import usable_cores
from pipeline.serving import answers, parquet_images, pictures
from pipeline.serving.answers import Write
from pipeline.settings import expanded
from pipeline.tracking.classifier import Classifier

CHUNK = 512  # images that a core works on at once: larger ones leave its cache
IN_MEMORY = 2**24  # pixels at once; 21,399 images of 28 × 28

IDX_ENDINGS = (".idx", ".gz", "-ubyte")

LITTER = "__MACOSX"
"""Folder in which archives from macOS keep what is no part of their content."""

Unread = Callable[[DataError], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images (N, H, W), 0–255: the files that they are from, their numbers in these, and what goes along."""

    files: Sequence[str]
    indices: Sequence[int]
    pixels: NDArray[Any]
    others: pa.Table | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read, and what is asked of them.

    Attributes:
        column: of a Parquet file that holds the pixels; None: the only one of lists of numbers.
        by_step: ask for the answers after each step.
        name: gives a file the name by which it goes in answers and errors.
    """

    column: str | None = None
    by_step: bool = False
    name: Callable[[Path], str] = answers.name

    def schema(self, files: Sequence[Path], class_names: Sequence[str] = ()) -> pa.Schema:
        """Return the columns of the answers to all images of the files; by step, those of these classes.

        Raises:
            UsageError: columns of one name hold what is of several types.
        """
        own = answers.schema_by_step(class_names) if self.by_step else answers.SCHEMA
        empty, found = own.empty_table(), [own]
        for file in files:
            with suppress(OSError, DataError):  # which are told when it is read
                _check_plain(file, self.name(file))
                if parquet_images.is_parquet(file):
                    others = parquet_images.others(file, name=self.name(file), column=self.column)
                    found.append(answers.beside(empty, others.empty_table()).schema)
        try:
            return pa.unify_schemas(found)
        except pa.ArrowException as error:
            raise UsageError(
                f"paths: expected Parquet files whose columns of one name are of one type, received others: "
                f"{first_line(error)}. Answer them one by one."
            ) from None


PLAIN = Reading()


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths name: of a folder all that look like pictures, IDX or Parquet files, in and below it.

    A folder that cannot be listed stands for itself: reading it will say why. Answers that were written there are left
    out.

    Raises:
        DataError: a folder holds none.
    """
    return [file for path in paths for file in _files(expanded(path))]


def answer(
    files: Sequence[Path], classifier: Classifier, write: Write, reading: Reading = PLAIN
) -> tuple[int, list[DataError]]:
    """Write the answers to all images of the files; return how many, and why some files are not among them."""
    unread: list[DataError] = []
    count = 0
    for table in tables(files, classifier, usable_cores(), unread.append, reading):
        write(table)
        count += table.num_rows
    return count, unread


def tables(
    files: Sequence[Path], classifier: Classifier, cores: int, unread: Unread, reading: Reading = PLAIN
) -> Iterator[pa.Table]:
    """Yield the answers to all images of the files, in order, part by part.

    Args:
        files: pictures, IDX and Parquet files.
        classifier: that answers.
        cores: that work side by side.
        unread: told of each file that cannot be read; the others are answered.
        reading: how they are read, and what is asked.
    """
    answer = classifier.by_step if reading.by_step else classifier.probabilities
    table = answers.table_by_step if reading.by_step else answers.table
    with ThreadPoolExecutor(cores) as pool:
        for part in _parts(files, classifier, unread, reading):
            chunks = [part.pixels[start : start + CHUNK] for start in range(0, len(part.pixels), CHUNK)]
            probabilities = np.concatenate(list(pool.map(answer, chunks)))
            answered = table(part.files, part.indices, probabilities, classifier.class_names)
            each = len(answered) // len(part.pixels)
            yield answered if part.others is None else answers.beside(answered, part.others, each=each)


def _files(path: Path) -> list[Path]:
    if not _is_folder(path):
        return [path]
    endings = (*Image.registered_extensions(), ".heic", ".heif", *IDX_ENDINGS, parquet_images.ENDING)
    found = sorted(file for file in _below(path) if _is_folder(file) or file.name.lower().endswith(endings))
    names = {file.parent / file.name.lower() for file in found}
    found = [file for file in found if not _labels_of_images(file, names) and not _answers(file)]
    if not found:
        raise DataError(
            f"{answers.printable(path)}: expected a folder with pictures or IDX files, or Parquet files, received one "
            "that holds none."
        )
    return found


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder's; not if it cannot be looked at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder, links followed, each folder once; and folders that cannot be listed."""
    waiting, been = [folder], set()
    while waiting:
        here = waiting.pop()
        try:
            inside, place = list(here.iterdir()), here.stat()
        except OSError:
            yield here
            continue
        if (place.st_dev, place.st_ino) in been:
            continue
        been.add((place.st_dev, place.st_ino))
        for path in inside:
            if _is_folder(path):
                waiting += [path] if path.name != LITTER else []
            elif not path.name.startswith("._"):
                yield path


def _labels_of_images(file: Path, names: set[Path]) -> bool:
    """Return whether a file holds the labels of images that are beside it, by their names, as MNIST's are."""
    name = file.name.lower()
    if "labels" not in name or not name.endswith(IDX_ENDINGS):
        return False
    images = name.replace("labels", "images").replace("idx1", "idx3").removesuffix(".gz")
    return bool({file.parent / images, file.parent / f"{images}.gz"} & names)


def _answers(file: Path) -> bool:
    """Return whether a file holds answers that were written here."""
    key = next(iter(answers.OURS))
    return file.name.lower().endswith(parquet_images.ENDING) and key.encode() in parquet_images.metadata(file)


def _parts(files: Sequence[Path], classifier: Classifier, unread: Unread, reading: Reading) -> Iterator[Part]:
    """Yield the images of the files, in order; hand on the errors of those that cannot be read."""
    most = max(1, IN_MEMORY // (classifier.height * classifier.width))
    if reading.by_step:  # an answer after each of 28 rows takes as much as the image
        most = max(1, most // max(1, classifier.steps // classifier.height))
    waiting = _Waiting()
    for file in files:
        name = reading.name(file)
        try:
            _check_plain(file, name)
            if rows := _rows(file, name, classifier, most, reading):
                yield from waiting.taken()
                yield from _numbered(rows, name)
            else:
                for index, pixels in enumerate(pictures.pages(file, name=name, form=classifier.form)):
                    waiting.add(name, index, pixels)
                    if len(waiting) >= min(most, CHUNK):
                        yield from waiting.taken()
        except OSError as error:
            unread(_unread(f"{name}: expected a picture or an IDX or Parquet file, received: {error.strerror}."))
        except DataError as error:
            unread(_unread(str(error)))
    yield from waiting.taken()


def _unread(message: str) -> DataError:
    return DataError(answers.printable(message))


class _Waiting:
    """Pictures that were read, until they are enough for a part."""

    def __init__(self) -> None:
        self._images: list[tuple[str, int, NDArray[np.uint8]]] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(self, name: str, index: int, pixels: NDArray[np.uint8]) -> None:
        """Take a page of a file."""
        self._images.append((name, index, pixels))

    def taken(self) -> Iterator[Part]:
        """Yield them, if there are any, and forget them."""
        if self._images:
            files, indices, pixels = zip(*self._images, strict=True)
            self._images.clear()
            yield Part(files=files, indices=indices, pixels=np.stack(pixels))


def _check_plain(file: Path, name: str) -> None:
    """Check that a file is one that ends: not a device, a pipe or a folder.

    Raises:
        DataError: it is not.
        OSError: there is none, or it cannot be looked at.
    """
    if file.is_dir():
        next(file.iterdir(), None)  # says why it cannot be listed
    if not stat.S_ISREG(file.stat().st_mode):
        raise DataError(f"{name}: expected a picture or an IDX or Parquet file, received what is no plain file.")


Rows = Iterator[tuple[NDArray[Any], pa.Table | None]]
"""Images (N, H, W) of a file in their order, and what goes along with them."""


def _rows(file: Path, name: str, classifier: Classifier, most: int, reading: Reading) -> Rows | None:
    """Return the images of a file that holds many, in parts; None if it is no such file."""
    height, width = classifier.height, classifier.width
    if idx.is_idx(file):
        return ((pixels, None) for pixels in idx.stream(file, height=height, width=width, rows=most))
    if parquet_images.is_parquet(file):
        return parquet_images.stream(file, name=name, column=reading.column, height=height, width=width, rows=most)
    return None


def _numbered(rows: Rows, name: str) -> Iterator[Part]:
    done = 0
    for pixels, others in rows:
        yield Part(files=[name] * len(pixels), indices=range(done, done + len(pixels)), pixels=pixels, others=others)
        done += len(pixels)
