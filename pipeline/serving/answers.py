"""Answer files in parts of bounded memory, and print the tables or write them to CSV or Parquet.

A row holds the ``file`` of an example and its ``index`` in this file, from 0; the ``label`` and ``probability`` (0–1)
of the most probable class and of the ``runner_up``. By step, a row is an example after one of its steps, with the
probabilities of all classes. The other columns of an input follow at the end.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data import contents
from pipeline.errors import DataError, UsageError, first_line, reason
from pipeline.settings import expanded
from pipeline.tracking.classifier import Classifier

SIZE = 512
"""Examples that a core works on at a time: larger parts leave its cache."""

AT_A_TIME = 32
"""Parts that are answered before they are written: 16,384 images of 28 × 28."""

Write = Callable[[pa.Table], None]
"""Takes answers."""

Named = tuple[str, Path]
"""A file as it is called in answers and errors, and where it is."""

NO_OTHERS = pa.table({})

WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}

ABOUT = "recurrent-mlflow-pipeline"
"""The key in a Parquet file's metadata that marks it as answers: such a file is never an input."""


class Part(NamedTuple):
    """Some examples of a file: a table of their ``file``, ``index`` and other columns, and their values (N, …)."""

    rows: pa.Table
    values: NDArray[Any]


class Reader(Protocol):
    """Reads files of one kind of data.

    Attributes:
        wanted: what it reads, in errors.
        size: most examples of a part, which a core works on at a time.
    """

    wanted: str
    size: int

    @staticmethod
    def endings() -> tuple[str, ...]:
        """Return how the names of files end that are taken from a folder."""

    def columns(self, file: Path, name: str) -> pa.Schema:
        """Return the columns that a file has in addition to its examples."""

    def lengths(self, values: NDArray[Any]) -> NDArray[np.intp] | None:
        """Return the number of steps of each example; None: all have as many."""

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the examples of a file in parts, with the other columns of their rows."""


def name(path: Path | str) -> str:
    r"""Return a path as text; bytes that are not UTF-8 are written as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str | Path) -> str:
    """Return text with control characters and line breaks escaped, so that it cannot disturb a terminal."""
    shown = name(text) if isinstance(text, Path) else text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown)


def columns(class_names: Sequence[str], *, by_step: bool) -> list[str]:
    """Return the names of the columns of an answer."""
    if by_step:
        return ["step", "label", *(f"probability_{each}" for each in class_names)]
    return ["label", "probability", "runner_up", "runner_up_probability"]


def rows(file: str, numbers: range, others: pa.Table, taken: Sequence[str]) -> pa.Table:
    """Return a table of the file and the number of each example, and other columns.

    One of these that is called as a column before it or one of ``taken`` gets ``input_`` before its name.
    """
    table = pa.table({"file": pa.array([file] * len(numbers), pa.string()), "index": pa.array(numbers, pa.int64())})
    for field, column in zip(others.schema, others.columns, strict=True):
        free = field.name
        while free in (*table.column_names, *taken):
            free = f"input_{free}"
        table = table.append_column(field.with_name(free), column)
    return table


def table(
    rows: pa.Table,
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    lengths: NDArray[np.intp] | None = None,
) -> pa.Table:
    """Return answers: a row per example, or per example and step.

    Args:
        rows: the examples, as :func:`rows` returns them.
        probabilities: of the classes (N, C), or after each step (N, T, C).
        class_names: one per class.
        lengths: steps of each example that are answered; None: all of them.
    """
    names, by_step = pa.array(class_names, pa.string()), probabilities.ndim == 3  # noqa: PLR2004
    values: list[Any]
    if by_step:
        examples, steps, classes = probabilities.shape
        rows, flat = rows.take(np.repeat(np.arange(examples), steps)), probabilities.reshape(-1, classes)
        values = [np.tile(np.arange(1, steps + 1), examples), names.take(pa.array(flat.argmax(axis=1))), *flat.T]
    else:
        best, second = np.argsort(-probabilities, axis=1, kind="stable")[:, :2].T
        each = np.arange(len(best))
        values = [names.take(pa.array(best)), probabilities[each, best]]
        values += [names.take(pa.array(second)), probabilities[each, second]]
    for place, column in enumerate(columns(class_names, by_step=by_step)):
        rows = rows.add_column(2 + place, column, pa.array(values[place]))
    if by_step and lengths is not None:
        rows = rows.filter((np.arange(steps) < lengths[:, np.newaxis]).ravel())
    return rows


def schema(files: Sequence[Named], reader: Reader, class_names: Sequence[str], *, by_step: bool) -> pa.Schema:
    """Return the columns of the answers to all examples of the files.

    Raises:
        UsageError: columns of one name have different types.
    """
    found = [pa.schema([])]
    for name, file in files:
        with suppress(OSError, DataError):  # reported when the file is read
            if file.is_file():  # a pipe would wait
                found.append(reader.columns(file, name))
    none = np.empty((0, *[1] * by_step, len(class_names)), np.float32)
    tables = [rows("", range(0), each.empty_table(), columns(class_names, by_step=by_step)) for each in found]
    try:
        return pa.unify_schemas([table(each, none, class_names).schema for each in tables])
    except pa.ArrowException as error:
        raise UsageError(
            f"paths: expected files whose columns of one name have one type, received different ones: "
            f"{first_line(error)}. Answer the files one by one."
        ) from None


def answer(
    files: Sequence[Named], reader: Reader, classifier: Classifier, write: Write, *, by_step: bool, cores: int
) -> tuple[int, list[DataError]]:
    """Write the answers to all examples of the files, in order and in parts.

    Args:
        files: their names and paths.
        reader: reads them.
        classifier: that answers.
        write: called with the answers to some parts.
        by_step: answer after each step.
        cores: that work in parallel.

    Returns:
        The number of answers, and the error of each file that could not be read.
    """
    unread: list[DataError] = []
    ask: Callable[[NDArray[Any]], NDArray[np.float32]] = classifier.by_step if by_step else classifier.probabilities
    most = cores if by_step else AT_A_TIME  # answers after each step take much memory
    names, count = classifier.class_names, 0
    parts = _joined(_parts(files, reader, columns(names, by_step=by_step), unread), reader.size)
    with ThreadPoolExecutor(cores) as pool:
        while some := list(islice(parts, most)):
            probabilities = pool.map(ask, (part.values for part in some))
            answered = zip(some, probabilities, strict=True)
            tables = [table(part.rows, each, names, reader.lengths(part.values)) for part, each in answered]
            write(pa.concat_tables(tables, promote_options="default"))
            count += sum(map(len, tables))
    return count, unread


def _parts(files: Sequence[Named], reader: Reader, taken: Sequence[str], unread: list[DataError]) -> Iterator[Part]:
    """Yield the examples of the files, in order; add the errors of files that cannot be read to a list."""
    for name, file in files:
        count = 0
        try:
            if file.exists() and not file.is_file():
                raise DataError(f"{name}: expected {reader.wanted}, received something that is not a file.")
            for values, others in reader.parts(file, name):
                numbers = range(count, count + len(values))
                yield Part(rows(name, numbers, others, taken), values)
                count += len(values)
        except OSError as error:
            unread.append(DataError(printable(f"{name}: expected {reader.wanted}, received: {reason(error)}.")))
        except DataError as error:
            unread.append(DataError(printable(str(error))))


def _joined(parts: Iterator[Part], size: int) -> Iterator[Part]:
    """Yield parts of at least ``size`` examples, but for the last: those of smaller files together."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if sum(len(each.values) for each in waiting) >= size:
            yield _together(waiting)
            waiting.clear()
    if waiting:
        yield _together(waiting)


def _together(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    tables, values = zip(*parts, strict=True)
    longest = max(each.shape[1] for each in values)  # of images, all have one height
    alike = [each if each.shape[1] == longest else contents.padded(each, longest) for each in values]
    return Part(pa.concat_tables(tables, promote_options="default"), np.concatenate(alike))


def lines(answers: pa.Table) -> str:
    """Return answers as text, a line each; an example is numbered if its file holds several."""
    rows = answers.to_pylist()
    numbered = {row["file"] for row in rows if row["index"]}
    return "\n".join(
        f"{printable(row['file'])} {row.get('id', row['index']) if row['file'] in numbered else ''}   "
        f"{row['label']}   {row['probability']:.2%}   then {row['runner_up']}   {row['runner_up_probability']:.2%}"
        for row in rows
    )


@contextmanager
def as_json(say: Callable[[str], None]) -> Iterator[Write]:
    """Yield a function that prints answers as they come, a line each; together the lines are one JSON array."""
    waiting = ""  # for the comma, or the end

    def write(answers: pa.Table) -> None:
        nonlocal waiting
        table = answers.to_pandas(integer_object_nulls=True)
        for row in table.to_json(orient="records", lines=True, date_format="iso", default_handler=str).splitlines():
            say(f"{waiting}," if waiting else "[")
            waiting = row

    yield write
    say(f"{waiting}\n]" if waiting else "[]")


def check_output(path: Path) -> None:
    """Check that a file name ends in .csv or .parquet.

    Raises:
        UsageError: it does not.
    """
    if path.suffix not in WRITERS:
        raise UsageError(
            f"output: expected a file name that ends in .csv or .parquet, or a folder, received {printable(path)}."
        )


@contextmanager
def written(path: Path, columns: pa.Schema, about: str = "answers") -> Iterator[Write]:
    """Yield a function that adds answers to the file at ``path``, which appears when the block ends without an error.

    Args:
        path: of the CSV or Parquet file.
        columns: of the file; a column that some answers lack is null there.
        about: what a Parquet file says of itself under :data:`ABOUT`.

    Raises:
        UsageError: the file cannot be written, or a CSV file cannot hold a column.
    """
    check_output(path)
    columns = columns.with_metadata({ABOUT: about})
    nothing = columns.empty_table()
    try:
        with disk.new_file(expanded(path)) as file, WRITERS[path.suffix](str(file), columns) as writer:
            yield lambda answers: writer.write_table(pa.concat_tables([nothing, answers], promote_options="default"))
    except pa.ArrowInvalid as error:  # a CSV file has no lists and no records
        raise UsageError(
            f"output: expected a .parquet file for the columns of these answers, received {printable(path)} "
            f"({first_line(error)})."
        ) from None
    except OSError as error:
        raise UsageError(
            f"output: expected a file that can be written, received {printable(path)}: {reason(error)}."
        ) from None
