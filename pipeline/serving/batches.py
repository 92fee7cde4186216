"""Paths to answers, in parts, so that the memory stays the same however many images there are.

Paths name pictures, IDX files and folders of them; their images pass in parts,
and each part becomes a table of answers (see ``answers``).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import idx
from pipeline.errors import DataError
from pipeline.serving import answers, pictures
from pipeline.tracking.classifier import Classifier

CHUNK = 512  # images that a core works on at once: larger ones leave its cache
IN_MEMORY = 2**24  # pixels at once; 21,399 images of 28 × 28

Unread = Callable[[DataError], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images (N, H, W): the files that they are from, and their numbers in these."""

    files: Sequence[str]
    indices: Sequence[int]
    pixels: NDArray[np.uint8]


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths name: of a folder all that look like pictures or IDX files, in and below it.

    Raises:
        DataError: a folder holds none.
    """
    return [file for path in paths for file in _files(path)]


def tables(files: Sequence[Path], classifier: Classifier, cores: int, unread: Unread) -> Iterator[pa.Table]:
    """Yield the answers to all images of the files, in order, part by part.

    Args:
        files: pictures and IDX files.
        classifier: that answers.
        cores: that work side by side.
        unread: told of each file that cannot be read; the others are answered.
    """
    with ThreadPoolExecutor(cores) as pool:
        for part in _parts(files, classifier, unread):
            chunks = [part.pixels[start : start + CHUNK] for start in range(0, len(part.pixels), CHUNK)]
            probabilities = np.concatenate(list(pool.map(classifier.probabilities, chunks)))
            yield answers.table(part.files, part.indices, probabilities, classifier.class_names)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    endings = {*Image.registered_extensions(), ".idx", ".gz"}
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and (file.suffix.lower() in endings or file.name.endswith("-ubyte"))
    ]
    if not found:
        raise DataError(f"{path}: expected a folder with pictures or IDX files, received one that holds none.")
    return found


def _parts(files: Sequence[Path], classifier: Classifier, unread: Unread) -> Iterator[Part]:
    """Yield the images of the files, in order; hand on the errors of those that cannot be read."""
    most = max(1, IN_MEMORY // (classifier.height * classifier.width))
    names: list[str] = []
    read: list[NDArray[np.uint8]] = []
    for file in files:
        try:
            if idx.is_idx(file):
                yield from _pictures(names, read)
                yield from _idx_parts(file, classifier, most)
            else:
                read.append(_picture(file, classifier))
                names.append(str(file))
        except OSError as error:
            unread(DataError(f"{file}: expected a picture or an IDX file, received: {error.strerror}."))
        except DataError as error:
            unread(error)
        if len(read) >= min(most, CHUNK):
            yield from _pictures(names, read)
    yield from _pictures(names, read)


def _pictures(names: list[str], read: list[NDArray[np.uint8]]) -> Iterator[Part]:
    """Yield the pictures that were read, if any, and forget them."""
    if read:
        yield Part(files=[*names], indices=[0] * len(names), pixels=np.stack(read))
        names.clear()
        read.clear()


def _picture(file: Path, classifier: Classifier) -> NDArray[np.uint8]:
    return pictures.read(
        file, name=str(file), dataset=classifier.dataset, height=classifier.height, width=classifier.width
    )


def _idx_parts(file: Path, classifier: Classifier, most: int) -> Iterator[Part]:
    done = 0
    for pixels in idx.stream(file, height=classifier.height, width=classifier.width, rows=most):
        yield Part(files=[str(file)] * len(pixels), indices=range(done, done + len(pixels)), pixels=pixels)
        done += len(pixels)
