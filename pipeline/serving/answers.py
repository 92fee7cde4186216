"""Answers of a model as tables: printed as lines or JSON, or written to a CSV or Parquet file in parts.

A row holds the ``file`` of an image and its ``index`` in this file, from 0; the ``label`` and ``probability`` (0–1) of
the most probable class and of the ``runner_up``. By step, a row is an image after one of its steps, with the
probabilities of all classes. Columns that a Parquet file has beside its pixels follow at the end.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline import disk
from pipeline.errors import UsageError, first_line, reason
from pipeline.settings import expanded

Write = Callable[[pa.Table], None]
"""Takes answers."""

WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}

ABOUT = "recurrent-mlflow-pipeline"
"""The key in a Parquet file's metadata that marks it as answers: such a file is never an input."""


class Part(NamedTuple):
    """Some images: pixels (N, H, W), 0–255, with the file, the index in it and the other columns of each."""

    files: Sequence[str]
    indices: Sequence[int]
    pixels: NDArray[Any]
    others: pa.Table


NO_OTHERS = pa.table({})


def name(path: Path | str) -> str:
    r"""Return a path as text; bytes that are not UTF-8 are written as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str | Path) -> str:
    """Return text with control characters and line breaks escaped, so that it cannot disturb a terminal."""
    shown = name(text) if isinstance(text, Path) else text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown)


def table(part: Part, probabilities: NDArray[np.float32], class_names: Sequence[str]) -> pa.Table:
    """Return the answers to a part: a row per image, or per image and step.

    Args:
        part: the images.
        probabilities: of the classes (N, C), or after each step (N, T, C).
        class_names: one per class.
    """
    keys = pa.table({"file": pa.array(part.files, pa.string()), "index": pa.array(part.indices, pa.int64())})
    names, others = pa.array(class_names, pa.string()), part.others
    if probabilities.ndim == 2:  # noqa: PLR2004
        best, second = np.argsort(-probabilities, axis=1, kind="stable")[:, :2].T
        rows = np.arange(len(probabilities))
        columns = {"label": names.take(pa.array(best)), "probability": probabilities[rows, best]}
        columns |= {"runner_up": names.take(pa.array(second)), "runner_up_probability": probabilities[rows, second]}
    else:
        images, steps, classes = probabilities.shape
        flat, image = probabilities.reshape(-1, classes), np.repeat(np.arange(images), steps)
        keys, others = keys.take(image), others.take(image) if others.columns else others
        columns = {"step": np.tile(np.arange(1, steps + 1), images), "label": names.take(pa.array(flat.argmax(axis=1)))}
        columns |= {f"probability_{each}": column for each, column in zip(class_names, flat.T, strict=True)}
    for column, values in columns.items():
        keys = keys.append_column(column, pa.array(values))
    return _beside(keys, others)


def _beside(answers: pa.Table, others: pa.Table) -> pa.Table:
    """Return answers with other columns at the end; one whose name is taken gets ``input_`` before it."""
    for field, column in zip(others.schema, others.columns, strict=True):
        free = field.name
        while free in answers.column_names:
            free = f"input_{free}"
        answers = answers.append_column(pa.field(free, field.type), column)
    return answers


def schema(others: pa.Schema, class_names: Sequence[str], *, by_step: bool) -> pa.Schema:
    """Return the columns of answers to images that have ``others`` as further columns."""
    shape = (0, 1, len(class_names)) if by_step else (0, 2)
    empty = Part([], [], np.empty((0, 0, 0)), others.empty_table())
    return table(empty, np.empty(shape, np.float32), class_names).schema


def lines(answers: pa.Table) -> str:
    """Return answers as text, a line each; an image is numbered if its file holds several."""
    rows = answers.to_pylist()
    numbered = {row["file"] for row in rows if row["index"]}
    return "\n".join(
        f"{printable(row['file'])} {row['index'] if row['file'] in numbered else ''}   "
        f"{row['label']}   {row['probability']:.2%}   then {row['runner_up']}   {row['runner_up_probability']:.2%}"
        for row in rows
    )


@contextmanager
def as_json(say: Callable[[str], None]) -> Iterator[Write]:
    """Yield a function that prints answers as they come, a line each; together the lines are one JSON array."""
    waiting = ""  # for the comma, or the end

    def write(answers: pa.Table) -> None:
        nonlocal waiting
        for row in answers.to_pylist():
            say(f"{waiting}," if waiting else "[")
            waiting = json.dumps(_finite(row), ensure_ascii=False, default=str)

    yield write
    say(f"{waiting}\n]" if waiting else "[]")


def _finite(value: Any) -> Any:
    """Return a value with null in place of numbers that JSON does not have: NaN and infinity."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    try:
        with disk.new_file(expanded(path)) as file, WRITERS[path.suffix](str(file), columns) as writer:
            yield lambda answers: writer.write_table(_completed(answers, columns))
    except pa.ArrowInvalid as error:  # a CSV file has no lists and no records
        raise UsageError(
            f"output: expected a .parquet file for the columns of these answers, received {printable(path)} "
            f"({first_line(error)})."
        ) from None
    except OSError as error:
        raise UsageError(
            f"output: expected a file that can be written, received {printable(path)}: {reason(error)}."
        ) from None


def _completed(answers: pa.Table, columns: pa.Schema) -> pa.Table:
    whole = pa.concat_tables([columns.empty_table(), answers], promote_options="default")
    return whole.replace_schema_metadata(columns.metadata)
