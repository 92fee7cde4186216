"""Say what is on pictures: label, probability and runner-up of each, printed or written to a file.

    pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
    pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet

Takes pictures, folders of them, and IDX files; all of it in parts, so that the
memory stays the same however many images there are.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pipeline.errors import DataError, UsageError
from pipeline.progress import Reporter
from pipeline.serving import answers, batches
from pipeline.serving.answers import Write
from pipeline.settings import usable_cores
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier


def predict(
    paths: Sequence[Path], model: str, output: Path | None, reporter: Reporter, *, as_json: bool = False, trust: bool
) -> None:
    """Answer all images at ``paths``: files, and the pictures and IDX files in and below folders.

    Args:
        paths: of pictures, IDX files and folders.
        model: its address, such as ``models:/mnist-gru@champion``.
        output: a CSV or Parquet file, by its ending; None: the answers are printed.
        reporter: told the answers, or how many there are; and which files could not be read.
        as_json: print them as one JSON array.
        trust: run the code of a model that is not of this pipeline.

    Raises:
        DataError: a folder holds no images; or files could not be read, and the others have been answered.
        UsageError: the output cannot be written or is printed, too, or the model is not of this pipeline.
    """
    files = batches.files(paths)
    with _writer(output, reporter, as_json=as_json) as write:
        count, unread = _answered(files, classifiers.load(model, trust=trust), write)
    _tell(count, unread, files, output, reporter)


def predict_by_step(paths: Sequence[Path], model: str, output: Path | None, reporter: Reporter, *, trust: bool) -> None:
    """Write what the answers to all images at ``paths`` would be after each step; see :func:`predict`.

    Raises:
        UsageError: there is no output, or the model does not tell.
    """
    if output is None:
        raise UsageError("by_step: expected an --output, a .csv or .parquet file, received none.")
    files, classifier = batches.files(paths), classifiers.load(model, trust=trust)
    with answers.written(output, answers.schema_by_step(classifier.class_names)) as write:
        count, unread = _answered(files, classifier, write, by_step=True)
    _tell(count, unread, files, output, reporter)


def _answered(
    files: Sequence[Path], classifier: Classifier, write: Write, *, by_step: bool = False
) -> tuple[int, list[DataError]]:
    """Write the answers to all images of the files; return how many, and why some files are not among them."""
    unread: list[DataError] = []
    count = 0
    for table in batches.tables(files, classifier, usable_cores(), unread.append, by_step=by_step):
        write(table)
        count += table.num_rows
    return count, unread


def _tell(count: int, unread: Sequence[DataError], files: Sequence[Path], output: Path | None, to: Reporter) -> None:
    if output:
        to.result(f"Wrote {count:,} answers to {output}.")
    if unread:
        raise DataError(f"{len(unread):,} of {len(files):,} files not answered. {' '.join(map(str, unread))}")


def _writer(output: Path | None, reporter: Reporter, *, as_json: bool) -> AbstractContextManager[Write]:
    """Return a context with a function that takes the answers as they come."""
    if as_json and output:
        raise UsageError("json, output: expected one of the two, received both.")
    if as_json:
        return answers.listed(reporter.result)
    return answers.written(output) if output else nullcontext(lambda table: reporter.result(answers.lines(table)))
