"""Images of files to answers, in parts of bounded memory, however many images there are.

Paths name pictures, IDX and Parquet files, and folders of them.
"""

import os
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
from pipeline.serving import answers, parquet_images, pictures
from pipeline.serving.answers import NO_OTHERS, Part, Write
from pipeline.settings import expanded
from pipeline.tracking.classifier import Classifier

CHUNK = 512  # images that a core works on at a time: larger chunks leave its cache
IN_MEMORY = 2**24  # pixels at a time; 21,399 images of 28 × 28

IDX_ENDINGS = (".idx", ".gz", "-ubyte")

LITTER = "__MACOSX"
"""Folder that archives from macOS add to their content."""

Unread = Callable[[DataError], None]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read, and what is asked of the model.

    Attributes:
        column: of a Parquet file that holds the pixels; None: found by its type.
        by_step: ask for the answers after each step.
        name: returns the name of a file in answers and errors.
    """

    column: str | None = None
    by_step: bool = False
    name: Callable[[Path], str] = answers.name

    def schema(self, files: Sequence[Path], classifier: Classifier) -> pa.Schema:
        """Return the columns of the answers to all images of the files.

        Raises:
            UsageError: columns of one name have different types.
        """
        found = [pa.schema([])]
        for file in files:
            with suppress(OSError, DataError):  # reported when the file is read
                _check_plain(file, self.name(file))
                if parquet_images.is_parquet(file):
                    found.append(
                        parquet_images.other_columns(
                            file, name=self.name(file), column=self.column, form=classifier.form
                        )
                    )
        try:
            return pa.unify_schemas(
                [answers.schema(each, classifier.class_names, by_step=self.by_step) for each in found]
            )
        except pa.ArrowException as error:
            raise UsageError(
                f"paths: expected Parquet files whose columns of one name have one type, received different ones: "
                f"{first_line(error)}. Answer the files one by one."
            ) from None


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths name; for a folder all pictures, IDX and Parquet files in and below it.

    A folder that cannot be listed stands for itself: reading it will say why. Files of answers are left out.

    Raises:
        DataError: a folder holds none.
    """
    return [file for path in paths for file in _files(expanded(path))]


def _files(path: Path) -> list[Path]:
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where the path may not be looked at
        return [path]
    endings = (*Image.registered_extensions(), ".heic", ".heif", *IDX_ENDINGS, parquet_images.ENDING)
    found = [each for each in sorted(_below(path)) if each.is_dir() or each.name.lower().endswith(endings)]
    found = [each for each in found if not _is_labels(each) and not _is_answers(each)]
    if not found:
        raise DataError(
            f"{answers.printable(path)}: expected a folder with pictures or IDX files, or Parquet files, received one "
            "without any."
        )
    return found


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder, links followed, each folder once; and folders that cannot be listed."""
    seen: set[str] = set()
    unlisted: list[Path] = []
    walk = os.walk(folder, followlinks=True, onerror=lambda error: unlisted.append(Path(error.filename)))
    for here, folders, names in walk:
        place = os.path.realpath(here)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [each for each in folders if each != LITTER]
        yield from (Path(here, name) for name in names if not name.startswith("._"))
    yield from unlisted


def _is_labels(file: Path) -> bool:
    """Return whether a file is named like an IDX file of labels, as those beside MNIST's images are."""
    return "labels" in file.name.lower() and file.name.lower().endswith(IDX_ENDINGS)


def _is_answers(file: Path) -> bool:
    """Return whether a file holds answers that were written here."""
    return file.name.endswith(parquet_images.ENDING) and answers.ABOUT.encode() in parquet_images.metadata(file)


def answer(
    files: Sequence[Path], classifier: Classifier, write: Write, reading: Reading, *, cores: int
) -> tuple[int, list[DataError]]:
    """Write the answers to all images of the files, in order and in parts.

    Args:
        files: pictures, IDX and Parquet files.
        classifier: that answers.
        write: called with the answers to each part.
        reading: how the files are read, and what is asked.
        cores: that work in parallel.

    Returns:
        The number of answers, and the error of each file that could not be read.
    """
    unread: list[DataError] = []
    count = 0
    ask = classifier.by_step if reading.by_step else classifier.probabilities
    with ThreadPoolExecutor(cores) as pool:
        for part in _parts(files, classifier, unread.append, reading):
            chunks = [part.pixels[start : start + CHUNK] for start in range(0, len(part.pixels), CHUNK)]
            table = answers.table(part, np.concatenate(list(pool.map(ask, chunks))), classifier.class_names)
            write(table)
            count += table.num_rows
    return count, unread


def _parts(files: Sequence[Path], classifier: Classifier, unread: Unread, reading: Reading) -> Iterator[Part]:
    """Yield the images of the files, in order; pass on the errors of files that cannot be read."""
    most = max(1, IN_MEMORY // (classifier.height * classifier.width))
    if reading.by_step:  # an answer after each of 28 rows takes as much memory as the image
        most = max(1, most // max(1, classifier.steps(classifier.form.sample()) // classifier.height))
    waiting: list[tuple[str, int, NDArray[np.uint8]]] = []
    for file in files:
        name = reading.name(file)
        try:
            _check_plain(file, name)
            if idx.is_idx(file) or parquet_images.is_parquet(file):
                yield from _together(waiting)
                yield from _rows(file, name, classifier, most, reading)
                continue
            for index, pixels in enumerate(pictures.pages(file, name=name, form=classifier.form)):
                waiting.append((name, index, pixels))
                if len(waiting) >= min(most, CHUNK):
                    yield from _together(waiting)
        except OSError as error:
            unread(_unread(f"{name}: expected a picture or an IDX or Parquet file, received: {error.strerror}."))
        except DataError as error:
            unread(_unread(str(error)))
    yield from _together(waiting)


def _unread(message: str) -> DataError:
    return DataError(answers.printable(message))


def _together(waiting: list[tuple[str, int, NDArray[np.uint8]]]) -> Iterator[Part]:
    """Yield the pictures that are waiting as one part, if there are any, and empty the list."""
    if waiting:
        names, indices, pixels = zip(*waiting, strict=True)
        waiting.clear()
        yield Part(names, indices, np.stack(pixels), NO_OTHERS)


def _check_plain(file: Path, name: str) -> None:
    """Check that a file is a regular one, not a device, a pipe or a folder.

    Raises:
        DataError: it is not.
        OSError: it does not exist, or may not be looked at.
    """
    if file.is_dir():
        next(file.iterdir(), None)  # raises what keeps it from being listed
    if not stat.S_ISREG(file.stat().st_mode):
        raise DataError(f"{name}: expected a picture or an IDX or Parquet file, received something that is not a file.")


def _rows(file: Path, name: str, classifier: Classifier, most: int, reading: Reading) -> Iterator[Part]:
    """Yield the images of an IDX or Parquet file in parts."""
    done, form = 0, classifier.form
    rows: Iterator[tuple[NDArray[Any], pa.Table]]
    if idx.is_idx(file):
        rows = ((pixels, NO_OTHERS) for pixels in idx.stream(file, height=form.height, width=form.width, rows=most))
    else:
        rows = parquet_images.stream(file, name=name, column=reading.column, form=form, rows=most)
    for pixels, others in rows:
        yield Part([name] * len(pixels), range(done, done + len(pixels)), pixels, others)
        done += len(pixels)
