import datetime
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.errors import UsageError
from pipeline.serving import answers
from pipeline.serving.answers import NO_OTHERS, Part


def answered(files: list[str], indices: list[int], probabilities: Any, others: pa.Table = NO_OTHERS) -> pa.Table:
    """Return the answers to images of the classes no and yes."""
    part = Part(files, indices, np.empty((len(files), 2, 2)), others)
    return answers.table(part, np.asarray(probabilities, np.float32), ["no", "yes"])


def two(others: pa.Table = NO_OTHERS) -> pa.Table:
    return answered(["a", "a"], [0, 1], np.eye(2), others)


ODD = {
    b"new\nline.png": ("new\nline.png", "new\\nline.png"),
    b"\x1b[31mred.png": ("\x1b[31mred.png", "\\x1b[31mred.png"),
    b"\xff\xfe.png": ("\\xff\\xfe.png", "\\xff\\xfe.png"),
    "ü 'q\".png".encode(): ("ü 'q\".png", "ü 'q\".png"),
    b"=1+1,[bold]x.png": ("=1+1,[bold]x.png", "=1+1,[bold]x.png"),
}
"""Names of files → as they are written, and as they are printed."""


@pytest.mark.parametrize("raw", ODD, ids=repr)
def test_a_name_of_any_bytes_is_text_and_does_nothing_to_a_terminal(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    assert ODD[raw] == (answers.name(path), answers.printable(path))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_names_of_any_bytes_are_written_and_read_back(tmp_path: Path, ending: str) -> None:
    names = [answers.name(Path(os.fsdecode(raw))) for raw in ODD]
    table = answered(names, [0] * len(names), np.eye(5, 2))

    with answers.written(tmp_path / f"answers{ending}", table.schema) as write:
        write(table)

    file = tmp_path / f"answers{ending}"
    read = pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file)
    assert [written for written, _ in ODD.values()] == read["file"].tolist()


def test_a_name_with_a_new_line_is_printed_on_one(tmp_path: Path) -> None:
    table = answered(["two\nlines"], [0], np.array([[0.25, 0.75]]))
    assert "two\\nlines    yes   75.00%   then no   25.00%" == answers.lines(table)


def test_a_column_that_is_called_as_an_answer_is_keeps_what_it_says() -> None:
    others = pa.table({"label": [3, 4], "input_label": ["x", "y"]})
    table = two(others)
    assert [*two().column_names, "input_label", "input_input_label"] == table.column_names
    assert [3, 4] == table["input_label"].to_pylist()
    assert ["x", "y"] == table["input_input_label"].to_pylist()


def test_of_several_answers_to_an_image_each_has_its_columns() -> None:
    table = answered(["a", "b"], [0, 0], np.eye(2)[[[0, 1], [1, 1]]], pa.table({"id": ["p", "q"]}))
    assert ["p", "p", "q", "q"] == table["id"].to_pylist()
    assert ["a", "a", "b", "b"] == table["file"].to_pylist()
    assert [1, 2, 1, 2] == table["step"].to_pylist()
    assert ["no", "yes", "yes", "yes"] == table["label"].to_pylist()


@pytest.mark.parametrize("value", [[1.5], {"a": 1}], ids=["list", "record"])
def test_what_a_csv_file_does_not_hold_is_refused_before_anything_is_answered(tmp_path: Path, value: Any) -> None:
    schema = two(pa.table({"box": [value, value]})).schema
    said = r"expected a \.parquet file for the columns of these answers"
    with pytest.raises(UsageError, match=said), answers.written(tmp_path / "a.csv", schema):
        pytest.fail("too late")
    with answers.written(tmp_path / "a.parquet", schema) as write:
        write(two())
    assert [None, None] == pd.read_parquet(tmp_path / "a.parquet")["box"].tolist()


def test_what_json_has_no_word_for_is_null_or_text() -> None:
    said: list[str] = []
    others = pa.table(
        {"size": [float("nan"), 0.5], "day": [datetime.date(2026, 1, 2), None], "box": [[float("inf")], []]}
    )
    with answers.as_json(said.append) as write:
        write(two(others))

    rows = json.loads("\n".join(said), parse_constant=pytest.fail)
    assert [(None, "2026-01-02", [None]), (0.5, None, [])] == [(row["size"], row["day"], row["box"]) for row in rows]
