"""Say what is on pictures: label, probability and runner-up of each, printed or written to a file.

    pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
    pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet

Takes pictures, folders of them, and IDX files; all of it in parts, so that the
memory stays the same however many images there are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import idx
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.serving import answers, pictures
from pipeline.settings import usable_cores
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

CHUNK = 512  # images that a core works on at once: larger ones leave its cache
IN_MEMORY = 2**24  # pixels at once; 21,399 images of 28 × 28


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images (N, H, W): the files that they are from, and their numbers in these."""

    files: Sequence[str]
    indices: Sequence[int]
    pixels: NDArray[np.uint8]


def predict(paths: Sequence[Path], model: str, output: Path | None, reporter: Reporter, *, trust: bool = False) -> None:
    """Answer all images at ``paths``: files, and the pictures and IDX files in and below folders.

    Args:
        paths: of pictures, IDX files and folders.
        model: its address, such as ``models:/mnist-gru@champion``.
        output: a CSV or Parquet file, by its ending; None: the answers are printed.
        reporter: told the answers, or how many there are; and which files could not be read.
        trust: run the code of a model that is not of this pipeline.

    Raises:
        DataError: a folder holds no images; or files could not be read, and the others have been answered.
        TrackingError: there is no such model.
        UsageError: the output cannot be written, or the model is not of this pipeline.
    """
    files = [file for path in paths for file in _files(path)]
    cores, count = usable_cores(), 0
    unread: list[DataError] = []
    with (
        answers.written(output) if output else nullcontext(lambda table: reporter.note(answers.lines(table))) as write,
        ThreadPoolExecutor(cores) as pool,
    ):
        classifier = classifiers.load(model, trust=trust)
        for part in _parts(files, classifier, unread.append):
            write(_answered(part, classifier, pool))
            count += len(part.files)
    if output:
        reporter.note(f"Wrote {count:,} answers to {output}.")
    if unread:
        raise DataError(f"{len(unread):,} of {len(files):,} files not answered. {' '.join(map(str, unread))}")


def _files(path: Path) -> list[Path]:
    """Return the path itself; of a folder all that look like pictures or IDX files, in and below it."""
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


def _parts(files: Sequence[Path], classifier: Classifier, unread: Callable[[DataError], None]) -> Iterator[Part]:
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


def _answered(part: Part, classifier: Classifier, pool: ThreadPoolExecutor) -> pa.Table:
    chunks = [part.pixels[start : start + CHUNK] for start in range(0, len(part.pixels), CHUNK)]
    probabilities = np.concatenate(list(pool.map(classifier.probabilities, chunks)))
    return answers.table(part.files, part.indices, probabilities, classifier.class_names)
