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
        TrackingError: there is no such model.
        UsageError: the output cannot be written or is printed, too, or the model is not of this pipeline.
    """
    files, count = batches.files(paths), 0
    unread: list[DataError] = []
    with _writer(output, reporter, as_json=as_json) as write:
        for table in batches.tables(files, classifiers.load(model, trust=trust), usable_cores(), unread.append):
            write(table)
            count += table.num_rows
    if output:
        reporter.result(f"Wrote {count:,} answers to {output}.")
    if unread:
        raise DataError(f"{len(unread):,} of {len(files):,} files not answered. {' '.join(map(str, unread))}")


def _writer(output: Path | None, reporter: Reporter, *, as_json: bool) -> AbstractContextManager[Write]:
    """Return a context with a function that takes the answers as they come."""
    if as_json and output:
        raise UsageError("json, output: expected one of the two, received both.")
    if as_json:
        return answers.listed(reporter.result)
    return answers.written(output) if output else nullcontext(lambda table: reporter.result(answers.lines(table)))
