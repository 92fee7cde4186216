"""Paths to answers, in parts, so that the memory stays the same however many images there are.

Paths name pictures, IDX files and folders of them; their images pass in parts,
and each part becomes a table of answers (see ``answers``).
"""

import stat
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
    """Some images (N, H, W): the files that they are from, and their numbers in these."""

    files: Sequence[str]
    indices: Sequence[int]
    pixels: NDArray[np.uint8]


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths name: of a folder all that look like pictures or IDX files, in and below it.

    A folder that cannot be listed stands for itself: reading it will say why.

    Raises:
        DataError: a folder holds none.
    """
    return [file for path in paths for file in _files(expanded(path))]


def tables(
    files: Sequence[Path], classifier: Classifier, cores: int, unread: Unread, *, by_step: bool = False
) -> Iterator[pa.Table]:
    """Yield the answers to all images of the files, in order, part by part.

    Args:
        files: pictures and IDX files.
        classifier: that answers.
        cores: that work side by side.
        unread: told of each file that cannot be read; the others are answered.
        by_step: yield those after each step.
    """
    answer = classifier.by_step if by_step else classifier.probabilities
    table = answers.table_by_step if by_step else answers.table
    with ThreadPoolExecutor(cores) as pool:
        for part in _parts(files, classifier, unread):
            chunks = [part.pixels[start : start + CHUNK] for start in range(0, len(part.pixels), CHUNK)]
            probabilities = np.concatenate(list(pool.map(answer, chunks)))
            yield table(part.files, part.indices, probabilities, classifier.class_names)


def _files(path: Path) -> list[Path]:
    if not _is_folder(path):
        return [path]
    endings = (*Image.registered_extensions(), ".heic", ".heif", *IDX_ENDINGS)
    found = sorted(file for file in _below(path) if _is_folder(file) or file.name.lower().endswith(endings))
    names = {file.parent / file.name.lower() for file in found}
    found = [file for file in found if not _labels_of_images(file, names)]
    if not found:
        raise DataError(
            f"{answers.printable(path)}: expected a folder with pictures or IDX files, received one that holds none."
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


def _parts(files: Sequence[Path], classifier: Classifier, unread: Unread) -> Iterator[Part]:
    """Yield the images of the files, in order; hand on the errors of those that cannot be read."""
    most = max(1, IN_MEMORY // (classifier.height * classifier.width))
    waiting = _Waiting()
    for file in files:
        try:
            _check_plain(file)
            if idx.is_idx(file):
                yield from waiting.taken()
                yield from _idx_parts(file, classifier, most)
            else:
                for index, pixels in enumerate(pictures.pages(file, name=answers.name(file), form=classifier.form)):
                    waiting.add(file, index, pixels)
                    if len(waiting) >= min(most, CHUNK):
                        yield from waiting.taken()
        except OSError as error:
            unread(_unread(f"{answers.name(file)}: expected a picture or an IDX file, received: {error.strerror}."))
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

    def add(self, file: Path, index: int, pixels: NDArray[np.uint8]) -> None:
        """Take a page of a file."""
        self._images.append((answers.name(file), index, pixels))

    def taken(self) -> Iterator[Part]:
        """Yield them, if there are any, and forget them."""
        if self._images:
            files, indices, pixels = zip(*self._images, strict=True)
            self._images.clear()
            yield Part(files=files, indices=indices, pixels=np.stack(pixels))


def _check_plain(file: Path) -> None:
    """Check that a file is one that ends: not a device, a pipe or a folder.

    Raises:
        DataError: it is not.
        OSError: there is none, or it cannot be looked at.
    """
    if file.is_dir():
        next(file.iterdir(), None)  # says why it cannot be listed
    if not stat.S_ISREG(file.stat().st_mode):
        raise DataError(f"{answers.name(file)}: expected a picture or an IDX file, received what is no plain file.")


def _idx_parts(file: Path, classifier: Classifier, most: int) -> Iterator[Part]:
    done = 0
    for pixels in idx.stream(file, height=classifier.height, width=classifier.width, rows=most):
        yield Part(files=[answers.name(file)] * len(pixels), indices=range(done, done + len(pixels)), pixels=pixels)
        done += len(pixels)
