"""Say what is on pictures: label, probability and runner-up of each, printed or written to a file.

    pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
    pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet

Takes pictures, IDX and Parquet files, and folders of them; all of it in parts,
so that the memory stays the same however many images there are.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DataError, UsageError
from pipeline.progress import Reporter
from pipeline.serving import answers, batches
from pipeline.serving.answers import Write
from pipeline.serving.batches import Reading
from pipeline.tracking import classifier as classifiers


def predict(
    paths: Sequence[str], model: str, output: str | None, reading: Reading, to: Reporter, *, as_json: bool, trust: bool
) -> None:
    """Answer all images at ``paths``: files, and the pictures, IDX and Parquet files in and below folders.

    Args:
        paths: of these.
        model: its address, such as ``models:/mnist-gru@champion``.
        output: a CSV or Parquet file, by its ending; None: the answers are printed.
        reading: how the files are read, and what is asked.
        to: told the answers, or how many there are; and which files could not be read.
        as_json: print them as one JSON array.
        trust: run the code of a model that is not of this pipeline.

    Raises:
        DataError: a folder holds no images; or files could not be read: the others are answered.
        UsageError: the output cannot be written or is printed, too, or the model is not of this pipeline.
    """
    _check(output, as_json=as_json, by_step=reading.by_step)
    files = batches.files([Path(path) for path in paths])
    classifier = classifiers.load(model, trust=trust) if reading.by_step else None  # it names the columns
    schema = reading.schema(files, classifier.class_names if classifier else ())
    with _writer(output, schema, to, as_json=as_json) as write:
        count, unread = batches.answer(files, classifier or classifiers.load(model, trust=trust), write, reading)
    _tell(count, unread, files, output, to)


def _check(output: str | None, *, as_json: bool, by_step: bool) -> None:
    if by_step and output is None:
        raise UsageError("by_step: expected an --output, a .csv or .parquet file, received none.")
    if as_json and output:
        raise UsageError("json, output: expected one of the two, received both.")


def _tell(count: int, unread: Sequence[DataError], files: Sequence[Path], output: str | None, to: Reporter) -> None:
    if output:
        to.result(f"Wrote {count:,} answers to {output}.")
    if unread:
        raise DataError(f"{len(unread):,} of {len(files):,} files not answered. {' '.join(map(str, unread))}")


def _writer(
    output: str | None, schema: pa.Schema, reporter: Reporter, *, as_json: bool
) -> AbstractContextManager[Write]:
    """Return a context with a function that takes the answers as they come."""
    if as_json:
        return answers.listed(reporter.result)
    if output is None:
        return nullcontext(lambda table: reporter.result(answers.lines(table)))
    return answers.written(Path(output), schema)
