"""Answer files in parts of bounded memory, and print the tables or write them to CSV or Parquet.

A row holds the ``file`` of an example and its ``index`` in this file, from 0; the ``label`` and ``probability`` (0–1)
of the most probable class and of the ``runner_up``. With ``by_step``, a row is an example after one of its steps, with
the probabilities of all classes. The other columns of an input follow at the end.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data import contents
from pipeline.errors import DataError, UsageError, first_line
from pipeline.kinds.kind import lengths
from pipeline.kinds.sequences import Sequences
from pipeline.settings import expanded
from pipeline.tracking.models import Classifier

SIZE = 512
"""Number of examples that a core works on at a time: larger parts do not fit into its cache."""

AT_A_TIME = 32
"""Number of parts that are answered before they are written: 16,384 images of 28 × 28."""

Write = Callable[[pa.Table], None]
"""A function that takes answers."""

Named = tuple[str, Path]
"""The name of a file in answers and errors, and its path."""

Part = tuple[pa.Table, NDArray[Any]]
"""Some examples of a file: a table of their ``file``, ``index`` and other columns, and their values (N, …)."""

UNREADABLE = (OSError, ValueError, KeyError, pa.ArrowException)
"""Errors of libraries about a file; a KeyError if two columns of a Parquet file have the same name."""

NO_OTHERS = pa.table({})

WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}

ABOUT = "recurrent-mlflow-pipeline"
"""The key in a Parquet file's metadata that marks it as answers: such a file is never an input."""


RESERVED = re.compile("step|label|runner_up|(runner_up_)?probability|probability_.*")
"""Names of the columns of answers, after ``file`` and ``index``."""


class Reader(Protocol):
    """Reads files of one kind of data.

    Attributes:
        wanted: a description of the files that it reads.
        endings: endings of the names of files that are read from a folder.
        size: maximum examples in a part, which a core works on at a time.
    """

    wanted: str
    endings: tuple[str, ...]
    size: int

    def columns(self, file: Path, name: str) -> pa.Schema:
        """Return the columns that a file has in addition to its examples."""

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the examples of a file in parts, with the other columns of their rows."""


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
    caught = (OSError, pa.ArrowException) if writing else UNREADABLE
    try:
        yield
    except caught as error:
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
        is_dictionary = pa.types.is_dictionary(column.type)
        table = table.append_column(free, column.cast(column.type.value_type) if is_dictionary else column)
    return table


def table(
    rows: pa.Table,
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    steps_of: NDArray[np.intp] | None = None,
) -> pa.Table:
    """Return answers: a row per example, or per example and step.

    Args:
        rows: the examples, as :func:`rows` returns them.
        probabilities: probabilities of the classes (N, C), or after each step (N, T, C).
        class_names: one per class.
        steps_of: number of steps of each example; None: all have T.
    """
    names = pa.array(class_names, pa.string())
    answers: dict[str, Any]
    if probabilities.ndim == 3:  # noqa: PLR2004
        examples, steps, classes = probabilities.shape
        rows, flat = rows.take(np.repeat(np.arange(examples), steps)), probabilities.reshape(-1, classes)
        answers = {"step": np.tile(np.arange(1, steps + 1), examples), "label": names.take(pa.array(flat.argmax(1)))}
        answers |= {f"probability_{each}": column for each, column in zip(class_names, flat.T, strict=True)}
    else:
        best, second = np.argsort(-probabilities, axis=1, kind="stable")[:, :2].T
        each = np.arange(len(best))
        answers = {"label": names.take(pa.array(best)), "probability": probabilities[each, best]}
        answers |= {"runner_up": names.take(pa.array(second)), "runner_up_probability": probabilities[each, second]}
    for name, column in reversed(answers.items()):
        rows = rows.add_column(2, name, pa.array(column))
    return rows if steps_of is None else rows.filter((np.arange(steps) < steps_of[:, np.newaxis]).ravel())


def answer(
    files: Sequence[Named],
    reader: Reader,
    classifier: Classifier,
    writer: Callable[[pa.Schema], AbstractContextManager[Write]],
    *,
    by_step: bool,
    cores: int,
) -> tuple[int, list[str]]:
    """Write the answers to all examples of the files, in order and in parts.

    Args:
        files: their names and paths.
        reader: reads them.
        classifier: the model.
        writer: opens the output for answers with these columns; the yielded function is called with some at a time.
        by_step: answer after each step.
        cores: number of cores that work in parallel.

    Returns:
        The number of answers, and the error of each file that could not be read.

    Raises:
        UsageError: columns of one name have different types, or the answers cannot be written.
    """
    unread: list[str] = []
    ask: Callable[[NDArray[Any]], NDArray[np.float32]] = classifier.by_step if by_step else classifier.probabilities
    most = cores if by_step else AT_A_TIME  # answers after each step take much memory
    count, parts = 0, _joined(_parts(files, reader, unread), reader.size)
    columns = _columns(files, reader, classifier.class_names, by_step=by_step)
    with writer(columns) as write, ThreadPoolExecutor(cores) as pool:
        while some := list(islice(parts, most)):
            tables = []
            for (rows, values), probabilities in zip(some, pool.map(ask, (part[1] for part in some)), strict=True):
                steps = lengths(values) if by_step and isinstance(classifier.kind, Sequences) else None
                tables.append(table(rows, probabilities, classifier.class_names, steps))
            write(pa.concat_tables(tables, promote_options="default"))
            count += sum(map(len, tables))
    return count, unread


def _columns(files: Sequence[Named], reader: Reader, class_names: Sequence[str], *, by_step: bool) -> pa.Schema:
    """Return the columns of the answers to all examples of the files."""
    found = [pa.schema([])]
    for name, file in files:
        with suppress(DataError, *UNREADABLE):  # reported when the file is read
            found.append(reader.columns(file, name))
    none = np.empty((0, *[1] * by_step, len(class_names)), np.float32)
    tables = [table(rows("", range(0), each.empty_table()), none, class_names) for each in found]
    try:
        return pa.unify_schemas([each.schema for each in tables])
    except pa.ArrowException as error:
        raise UsageError(
            f"paths: columns of the same name must have the same type in all files: {first_line(error)}. Use a folder "
            "as --output, for a file of answers for each input."
        ) from None


def _parts(files: Sequence[Named], reader: Reader, unread: list[str]) -> Iterator[Part]:
    """Yield the examples of the files, in order; add the errors of files that cannot be read to a list."""
    for name, file in files:
        count = 0
        try:
            with explained(name):
                for values, others in reader.parts(file, name):
                    yield rows(name, range(count, count + len(values)), others), values
                    count += len(values)
        except DataError as error:
            said, shown = printable(str(error).replace(str(file), name)), printable(name)
            unread.append(said if shown in said else f"{shown}: {said}")


def _joined(parts: Iterator[Part], size: int) -> Iterator[Part]:
    """Yield parts of at least ``size`` examples, except the last one: small files are answered together."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if sum(len(values) for _, values in waiting) >= size:
            yield _together(waiting)
            waiting.clear()
    if waiting:
        yield _together(waiting)


def _together(parts: Sequence[Part]) -> Part:
    tables, values = zip(*parts, strict=True)
    longest = max(each.shape[1] for each in values)  # images all have the same height
    alike = [each if each.shape[1] == longest else contents.padded(each, longest) for each in values]
    return pa.concat_tables(tables, promote_options="default"), np.concatenate(alike)


def lines(answers: pa.Table) -> str:
    """Return answers as text, one per line; an example is numbered if its file holds several."""
    rows = answers.to_pylist()
    numbered = {row["file"] for row in rows if row["index"]}
    return "\n".join(
        f"{printable(row['file'])} {(row.get('id') or row['index']) if row['file'] in numbered else ''}   "
        f"{row['label']}   {row['probability']:.2%}   then {row['runner_up']}   {row['runner_up_probability']:.2%}"
        for row in rows
    )


@contextmanager
def as_json(say: Callable[[str], None], columns: pa.Schema) -> Iterator[Write]:
    """Yield a function that takes answers; print them at the end, as a JSON array with a line for each."""
    tables = [columns.empty_table()]
    yield tables.append
    table = pa.concat_tables(tables, promote_options="default").to_pandas(integer_object_nulls=True)
    records = table.to_json(orient="records", lines=True, date_format="iso", default_handler=str).splitlines()
    say("[" + ",\n".join(records) + "]")


@contextmanager
def written(path: Path, columns: pa.Schema, about: str = "answers") -> Iterator[Write]:
    """Yield a function that adds answers to the file at ``path``, which appears when the block ends without an error.

    Args:
        path: a CSV or Parquet file.
        columns: the columns of the file; a column that some answers lack is null there.
        about: the metadata of a Parquet file, under :data:`ABOUT`.

    Raises:
        UsageError: the file cannot be written, or a CSV file cannot contain a column.
    """
    columns = columns.with_metadata({ABOUT: about})
    nothing = columns.empty_table()
    with (
        explained(str(path), writing=True),
        disk.new_file(expanded(path)) as file,
        WRITERS[path.suffix](str(file), columns) as writer,
    ):
        yield lambda answers: writer.write_table(pa.concat_tables([nothing, answers], promote_options="default"))
