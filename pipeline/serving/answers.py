"""Answer files in parts of bounded memory, and print the tables or write them to CSV or Parquet.

A row holds the ``file`` of an example and its ``index`` in this file, from 0; the ``label`` and ``probability`` (0–1)
of the most probable class and of the ``runner_up``. With ``by_step``, a row is an example after one of its steps, with
the probabilities of all classes. The other columns of an input follow at the end.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pyarrow import csv, parquet

from pipeline import disk
from pipeline.errors import DataError, UsageError
from pipeline.serving.readers import NO_OTHERS, Reader
from pipeline.tracking.models import Classifier

AT_A_TIME = 32
"""Number of parts that are read before the cores answer them: up to 16,384 images of 28 × 28."""

ROWS = 10_000
"""Number of answers that are written at a time: each time begins a row group of a Parquet file."""

UNREADABLE = (OSError, ValueError, KeyError, pa.ArrowException)
"""Errors of libraries about a file; a KeyError if two columns of a Parquet file have the same name."""

WRITERS = {".csv": csv.CSVWriter, ".parquet": parquet.ParquetWriter}

ABOUT = "recurrent-mlflow-pipeline"
"""The key in a Parquet file's metadata that marks it as answers: such a file is never an input."""


RESERVED = re.compile("step|label|runner_up|(runner_up_)?probability|probability_.*")
"""Names of the columns of answers, after ``file`` and ``index``."""


def printable(text: str) -> str:
    """Return text with control characters and line breaks escaped, so that it cannot disturb a terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@contextmanager
def explained(address: str, *, writing: bool = False) -> Iterator[None]:
    """Turn an error of a library, a disk or a store into one that names the file or folder.

    Raises:
        DataError: it cannot be read.
        UsageError: it cannot be written to.
    """
    try:
        yield
    except UNREADABLE as error:
        said = str(error).rpartition("Invalid: ")[2].strip()  # Arrow names the cause last
        said = printable(os.strerror(error.errno) if isinstance(error, OSError) and error.errno else said.rstrip("."))
        if writing:
            hint = " A CSV file has no lists and no records: write a .parquet file." if "Unsupported" in said else ""
            raise UsageError(f"output: cannot write to {printable(address)}: {said}.{hint}") from None
        raise DataError(f"{printable(address)}: cannot be read: {said}.") from None


def rows(file: str, numbers: range, others: pa.Table) -> pa.Table:
    """Return a table of the file and the number of each example, and other columns, named ``input_…`` if necessary."""
    table = pa.table({"file": pa.array([file] * len(numbers), pa.string()), "index": pa.array(numbers, pa.int64())})
    for name, column in zip(others.column_names, others.columns, strict=True):
        free = name
        while RESERVED.fullmatch(free) or free in table.column_names:
            free = f"input_{free}"
        table = table.append_column(free, column)
    return table


def table(
    rows: pa.Table,
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    steps_of: ArrayLike | None = None,
) -> pa.Table:
    """Return answers: a row per example, or per example and step.

    Args:
        rows: the examples, as :func:`rows` returns them.
        probabilities: probabilities of the classes (N, C), or after each step (N, T, C).
        class_names: one per class.
        steps_of: number of steps of each example; None: all have T.
    """
    names = pa.array(class_names, pa.string())
    if probabilities.ndim == 3:  # noqa: PLR2004
        examples, steps, classes = probabilities.shape
        rows, flat = rows.take(np.repeat(np.arange(examples), steps)), probabilities.reshape(-1, classes)
        answers: dict[str, Any] = {
            "step": np.tile(np.arange(1, steps + 1), examples),
            "label": names.take(pa.array(flat.argmax(1))),
            **{f"probability_{each}": column for each, column in zip(class_names, flat.T, strict=True)},
        }
    else:
        ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
        (best, second), (most, less) = ranked.T, np.take_along_axis(probabilities, ranked, axis=1).T
        answers = {
            "label": names.take(pa.array(best)),
            "probability": most,
            "runner_up": names.take(pa.array(second)),
            "runner_up_probability": less,
        }
    for name, column in reversed(answers.items()):
        rows = rows.add_column(2, name, pa.array(column))
    return rows if steps_of is None else rows.filter((np.arange(steps) < np.reshape(steps_of, (-1, 1))).ravel())


def answer(
    files: Sequence[tuple[str, Path]],
    reader: Reader,
    classifier: Classifier,
    failed: dict[str, str],
    *,
    by_step: bool,
    cores: int,
) -> Iterator[pa.Table]:
    """Yield tables of the answers to all examples of the files, in order and in parts; an empty one if there are none.

    Args:
        files: their names in answers and errors, and their paths.
        reader: reads them.
        classifier: the model.
        failed: the error of each file that cannot be read is added to it, by name.
        by_step: answer after each step.
        cores: number of cores that work in parallel.
    """
    names, any_answers = classifier.class_names, False
    ask: Callable[[NDArray[Any]], NDArray[np.float32]] = classifier.by_step if by_step else classifier.probabilities
    parts, most = _parts(files, reader, failed), cores if by_step else AT_A_TIME
    with ThreadPoolExecutor(cores) as pool:
        while some := list(islice(parts, most)):
            for (given, values), probabilities in zip(some, pool.map(ask, (part[1] for part in some)), strict=True):
                yield table(given, probabilities, names, classifier.kind.lengths(values) if by_step else None)
                any_answers = True
    if not any_answers:
        yield table(rows("", range(0), NO_OTHERS), np.empty((0, *[1] * by_step, len(names)), np.float32), names)


def _parts(
    files: Sequence[tuple[str, Path]], reader: Reader, failed: dict[str, str]
) -> Iterator[tuple[pa.Table, NDArray[Any]]]:
    """Yield the examples of the files in parts, as rows without answers and values (N, …); add errors to ``failed``."""
    for name, file in files:
        count = 0
        try:
            with explained(name):
                for values, others in reader.parts(file, name):
                    yield rows(name, range(count, count + len(values)), others), values
                    count += len(values)
        except DataError as error:
            failed[name] = str(error).replace(str(file), name)


def lines(answers: pa.Table) -> str:
    """Return answers as text, one per line; an example is numbered if its file holds several."""
    rows = answers.to_pylist()
    numbered = {row["file"] for row in rows if row["index"]}
    return "\n".join(
        f"{printable(row['file'])} {(row.get('id') or row['index']) if row['file'] in numbered else ''}   "
        f"{row['label']}   {row['probability']:.2%}   then {row['runner_up']}   {row['runner_up_probability']:.2%}"
        for row in rows
    )


def as_json(tables: Iterator[pa.Table]) -> str:
    """Return answers as a JSON array with a line for each."""
    texts = (
        table.to_pandas(integer_object_nulls=True).to_json(
            orient="records", lines=True, date_format="iso", default_handler=str
        )
        for table in tables
    )
    return "[" + ",\n".join(line for text in texts for line in text.splitlines()) + "]"


def write(tables: Iterator[pa.Table], path: Path, failed: dict[str, str], about: str = "answers") -> int:
    """Write answers to a file, which appears when it is complete; return their number.

    Args:
        tables: at least one.
        path: a CSV or Parquet file.
        failed: an error is added to it for each input whose answers have other columns than the first; they are left
            out.
        about: the metadata of a Parquet file, under :data:`ABOUT`.

    Raises:
        UsageError: the file cannot be written, or a CSV file cannot contain a column.
    """
    first, count = next(tables), 0
    waiting = [first.slice(0, 0)]
    with (
        explained(str(path), writing=True),
        disk.new_file(path) as file,
        WRITERS[path.suffix](str(file), first.schema.with_metadata({ABOUT: about})) as writer,
    ):
        for table in chain([first], tables):
            if table.schema != first.schema:
                failed[table["file"][0].as_py()] = (
                    "its columns differ from those of the first file, and all answers go into one table. Use a folder "
                    "such as answers/ as --output."
                )
                continue
            waiting.append(table)
            count += len(table)
            if sum(map(len, waiting)) >= ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting = [first.slice(0, 0)]
        writer.write_table(pa.concat_tables(waiting))
    return count
