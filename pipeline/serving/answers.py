"""What a model says of images, as tables: printed as lines or JSON, or written to a CSV or Parquet file as they come.

A row is an image: the ``file`` that it is from, its ``index`` in this file,
from 0; the ``label`` and ``probability`` of the most probable class, 0–1, and
of the next, the ``runner_up``. By step, it is an image after one of its steps.
Columns that a Parquet file has beside its pixels go along at the end.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline import disk
from pipeline.errors import UsageError
from pipeline.settings import expanded

Write = Callable[[pa.Table], None]
"""Takes answers."""

WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}
OURS = {"recurrent-mlflow-pipeline": "answers"}
"""What a Parquet file of answers says of itself, if no more is to be said: it is no input."""

SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "index": pa.int64(),
        "label": pa.string(),
        "probability": pa.float32(),
        "runner_up": pa.string(),
        "runner_up_probability": pa.float32(),
    }
)


def name(path: Path | str) -> str:
    r"""Return the path as text; bytes that are not UTF-8, as a file's name may have, are spelled out as ``\xff`` is."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str | Path) -> str:
    """Return the text without what moves a terminal's cursor or begins a line: such signs are spelled out."""
    shown = name(text) if isinstance(text, Path) else text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown)


def table(
    files: Sequence[str], indices: Sequence[int], probabilities: NDArray[np.float32], class_names: Sequence[str]
) -> pa.Table:
    """Return the answers to N images: their ``files`` and ``indices`` in these, and their probabilities (N, C)."""
    best, second = np.argsort(-probabilities, axis=1, kind="stable")[:, :2].T
    rows, names = np.arange(len(probabilities)), pa.array(class_names, pa.string())
    columns = [pa.array(files, pa.string()), pa.array(indices, pa.int64())]
    for classes in (best, second):
        columns += [names.take(pa.array(classes)), pa.array(probabilities[rows, classes])]
    return pa.table(columns, SCHEMA)


def beside(answers: pa.Table, others: pa.Table, *, each: int = 1) -> pa.Table:
    """Return answers, ``each`` so many per image, with the other columns of the images' rows at their end.

    One that is called as an answer is, such as the true label, has ``input_`` before its name.
    """
    if each != 1:
        others = others.take(pa.array(np.repeat(np.arange(len(others)), each)))
    for field, column in zip(others.schema, others.columns, strict=True):
        free = field.name
        while free in answers.column_names:
            free = f"input_{free}"
        answers = answers.append_column(pa.field(free, field.type), column)
    return answers


def schema_by_step(class_names: Sequence[str]) -> pa.Schema:
    """Return the columns of answers by step: of an image a row for each step, counted from 1, and all probabilities."""
    named = {f"probability_{name}": pa.float32() for name in class_names}
    return pa.schema({"file": pa.string(), "index": pa.int64(), "step": pa.int64(), "label": pa.string()} | named)


def table_by_step(
    files: Sequence[str], indices: Sequence[int], probabilities: NDArray[np.float32], class_names: Sequence[str]
) -> pa.Table:
    """Return the answers to N images after each step: see ``table``; their probabilities are (N, T, C)."""
    images, steps, classes = probabilities.shape
    rows = probabilities.reshape(-1, classes)
    image = pa.array(np.repeat(np.arange(images), steps))
    columns = [pa.array(files, pa.string()).take(image), pa.array(indices, pa.int64()).take(image)]
    columns += [pa.array(np.tile(np.arange(1, steps + 1), images))]
    columns += [pa.array(class_names, pa.string()).take(pa.array(rows.argmax(axis=1)))]
    return pa.table([*columns, *(pa.array(column) for column in rows.T)], schema_by_step(class_names))


def lines(answers: pa.Table) -> str:
    """Return the answers as text, a line each; an image is numbered where its file holds more than one."""
    rows = answers.select(SCHEMA.names).to_pylist()
    numbered = {row["file"] for row in rows if row["index"]}
    return "\n".join(
        f"{printable(row['file'])} {row['index'] if row['file'] in numbered else ''}   "
        f"{row['label']}   {row['probability']:.2%}   then {row['runner_up']}   {row['runner_up_probability']:.2%}"
        for row in rows
    )


@contextmanager
def listed(say: Callable[[str], None]) -> Iterator[Write]:
    """Yield a function that says answers as they come: a line each, which together are one JSON array."""
    waiting = ""  # for the comma, or the end

    def write(answers: pa.Table) -> None:
        nonlocal waiting
        for row in answers.to_pylist():
            say(f"{waiting}," if waiting else "[")
            waiting = json.dumps(_spoken(row), ensure_ascii=False, default=str)

    yield write
    say(f"{waiting}\n]" if waiting else "[]")


def _spoken(value: Any) -> Any:
    """Return a value as JSON knows it: there a number is finite."""
    if isinstance(value, dict):
        return {name: _spoken(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_spoken(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def written(path: Path, schema: pa.Schema = SCHEMA, about: Mapping[str, str] | None = None) -> Iterator[Write]:
    """Yield a function that adds answers to the file at ``path``, which is there when the block ends well.

    Args:
        path: of the file.
        schema: of the answers; a column that some have not is null there.
        about: what a Parquet file says of itself as a whole.

    Raises:
        UsageError: its ending is neither .csv nor .parquet, its folder cannot be written to, or a CSV file cannot hold
            the columns.
    """
    if path.suffix not in WRITERS:
        raise UsageError(
            f"output: expected a file name that ends in .csv or .parquet, or a folder, received {printable(path)}."
        )
    _check_holds(path, schema)
    path = expanded(path)
    schema = schema.with_metadata(about or OURS)
    try:
        with disk.new_file(path) as incoming, WRITERS[path.suffix](str(incoming), schema) as writer:
            yield lambda table: writer.write_table(_filled(table, schema))
    except OSError as error:
        raise UsageError(
            f"output: expected a file that can be written, received {printable(path)}: {error.strerror}."
        ) from None


def _filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    whole = pa.concat_tables([schema.empty_table(), table], promote_options="default")
    return whole.replace_schema_metadata(schema.metadata)


def _check_holds(path: Path, schema: pa.Schema) -> None:
    """Check that a CSV file can hold the columns: it has no lists, no records and no bytes."""
    if path.suffix != ".csv":
        return
    for field in schema:
        try:
            pa.csv.write_csv(pa.table([pa.nulls(1, field.type)], [field.name]), pa.BufferOutputStream())
            holds = not pa.types.is_binary(field.type) and not pa.types.is_large_binary(field.type)
        except pa.ArrowException:
            holds = False
        if not holds:
            raise UsageError(
                f"output: expected a .parquet file for the column {printable(field.name)} of {field.type}, which a CSV "
                f"file does not hold, received {printable(path)}."
            )
