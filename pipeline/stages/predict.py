"""Classify images: label, probability and runner-up of each, printed or written to a file.

    pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
    pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet

Takes pictures, IDX and Parquet files, and folders of them, in parts of bounded memory.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DataError, UsageError
from pipeline.execution.executors import LOCAL
from pipeline.machine import usable_cores
from pipeline.progress import Reporter
from pipeline.serving import answers, batches, storage
from pipeline.serving.answers import Write
from pipeline.serving.batches import Reading
from pipeline.tracking import classifier as classifiers


def predict(
    paths: Sequence[str], model: str, output: str | None, reading: Reading, to: Reporter, *, as_json: bool, trust: bool
) -> None:
    """Answer all images at ``paths``, files and folders; print the answers or write them.

    Args:
        paths: of pictures, IDX and Parquet files, and of folders of them.
        model: its address, such as ``models:/mnist-gru@champion``.
        output: a CSV or Parquet file; None: the answers are printed.
        reading: how the files are read, and what is asked.
        to: shows the answers, or their number, and which files could not be read.
        as_json: print the answers as one JSON array.
        trust: run the model's code even if it is not this pipeline's.

    Raises:
        DataError: a folder holds no images, or files could not be read: the others are answered.
        UsageError: the output is not possible, or the model is not this pipeline's.
    """
    _check(output, as_json=as_json, by_step=reading.by_step)
    files = batches.files([Path(path) for path in paths])
    classifier = classifiers.load(model, trust=trust)
    with _writer(output, reading.schema(files, classifier), to, as_json=as_json) as write:
        count, unread = batches.answer(files, classifier, write, reading, cores=usable_cores())
    _report(count, unread, files, output, to)


def _report(
    count: int, unread: Sequence[DataError], files: Sequence[Path], output: str | None, reporter: Reporter
) -> None:
    if output:
        reporter.result(f"Wrote {count:,} answers to {output}.")
    if unread:
        raise DataError(f"{len(unread):,} of {len(files):,} files not answered. {' '.join(map(str, unread))}")


def check_local(paths: Sequence[str], output: str | None, on: str) -> None:
    """Check that the answers can be printed or written to one file.

    Raises:
        UsageError: they are asked for on a cluster, or with files in a store: this takes a folder.
    """
    remote = [f"with {address}" for address in (*paths, output or "") if storage.is_remote(address)]
    if on != LOCAL or remote:
        asked = answers.printable(remote[0] if remote else f"on {on}")
        raise UsageError(f"output: expected, {asked}, a folder such as answers/, received {output or 'none'}.")


def _check(output: str | None, *, as_json: bool, by_step: bool) -> None:
    if by_step and output is None:
        raise UsageError("by_step: expected an --output, a .csv or .parquet file, received none.")
    if as_json and output:
        raise UsageError("json, output: expected one of the two, received both.")
    if output:
        answers.check_output(Path(output))


def _writer(
    output: str | None, columns: pa.Schema, reporter: Reporter, *, as_json: bool
) -> AbstractContextManager[Write]:
    """Return a context that yields a function for the answers as they come."""
    if as_json:
        return answers.as_json(reporter.result)
    if output is None:
        return nullcontext(lambda table: reporter.result(answers.lines(table)))
    return answers.written(Path(output), columns)
