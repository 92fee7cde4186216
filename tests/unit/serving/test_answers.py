"""Tables of answers for files, from a model that measures the brightness of an image."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.serving import answers
from pipeline.serving.image_files import ImageFiles
from pipeline.tracking.classifier import Classifier


class Brightness:
    """A substitute for a loaded model: the brightness of the first pixel is the probability of the class "light"."""

    def predict(self, pixels: Any) -> Any:
        light = pixels[:, 0, 0] / 255
        return np.stack([1 - light, light], axis=1)


CLASSIFIER = Classifier(
    Brightness(),  # type: ignore[arg-type]
    dataset="shades",
    class_names=["dark", "light"],
    kind=Images(height=2, width=2),
)
READER = ImageFiles(CLASSIFIER.kind)  # type: ignore[arg-type]


def save(path: Path, brightness: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), brightness).save(path)
    return path


def save_parquet(path: Path, brightness: Sequence[int], **others: Any) -> Path:
    pq.write_table(pa.table({"pixels": [[each] * 4 for each in brightness], **others}), path)
    return path


def named(files: Sequence[Path]) -> list[answers.Named]:
    return [(answers.name(file), file) for file in files]


def schema(files: Sequence[Path]) -> pa.Schema:
    return answers.schema(named(files), READER, CLASSIFIER.class_names, by_step=False)


def answer(files: Sequence[Path], write: answers.Write) -> list[str]:
    """Classify files, and return the errors."""
    return answers.answer(named(files), READER, CLASSIFIER, write, by_step=False, cores=1)[1]


def answered(files: Sequence[Path]) -> tuple[list[tuple[str, int, str]], list[str]]:
    """Return file, index and label of each answer, and the errors."""
    tables: list[pa.Table] = []
    errors = answer(files, tables.append)
    return [(row["file"], row["index"], row["label"]) for table in tables for row in table.to_pylist()], errors


def two(**others: Any) -> pa.Table:
    """Return the answers to two images of the classes dark and light."""
    rows = answers.rows("a", range(2), pa.table(others))
    return answers.table(rows, np.eye(2, dtype=np.float32), CLASSIFIER.class_names)


ODD = {
    b"new\nline.png": ("new\nline.png", "new\\nline.png"),
    b"\x1b[31mred.png": ("\x1b[31mred.png", "\\x1b[31mred.png"),
    b"\xff\xfe.png": ("\\xff\\xfe.png", "\\xff\\xfe.png"),
    "ü 'q\".png".encode(): ("ü 'q\".png", "ü 'q\".png"),
    b"=1+1,[bold]x.png": ("=1+1,[bold]x.png", "=1+1,[bold]x.png"),
}
"""Names of files → in an output file, and on the terminal."""


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_names_of_any_bytes_are_written_and_read_back(tmp_path: Path, ending: str) -> None:
    files = [save(tmp_path / "in" / os.fsdecode(raw)) for raw in ODD]
    file = tmp_path / f"answers{ending}"

    with answers.written(file, schema(files)) as write:
        assert [] == answer(files, write)

    read = pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file)
    assert [f"{tmp_path}/in/{written}" for written, _ in ODD.values()] == read["file"].tolist()


@pytest.mark.parametrize("raw", ODD, ids=repr)
def test_a_file_name_is_printed_without_control_characters(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / os.fsdecode(raw)
    path.write_text("no picture")
    said = answered([path])[1][0]
    assert said.startswith(f"{tmp_path}/{ODD[raw][1]}: must be a picture")
    assert said.isprintable()
    table = two().set_column(0, "file", pa.array([answers.name(path), "b"]))
    assert answers.lines(table).splitlines()[0].startswith(f"{tmp_path}/{ODD[raw][1]}    dark   100.00%   then light")


def test_a_column_with_the_name_of_an_answer_gets_another_name() -> None:
    others = {"label": [3, 4], "input_label": ["x", "y"], "split": pa.array(["p", "q"]).dictionary_encode()}
    table = two(**others)
    assert [*two().column_names, "input_label", "input_input_label", "split"] == table.column_names
    assert [3, 4] == table["input_label"].to_pylist()
    assert ["x", "y"] == table["input_input_label"].to_pylist()
    assert pa.string() == table["split"].type  # a CSV file contains no dictionaries


@pytest.mark.parametrize("value", [[1.5], {"a": 1}], ids=["list", "record"])
def test_columns_that_a_csv_file_cannot_contain_are_refused_before_any_answer(tmp_path: Path, value: Any) -> None:
    columns = two(box=[value, value]).schema
    said = r"output: must be a \.parquet file, because a CSV file cannot contain all columns"
    with pytest.raises(UsageError, match=said), answers.written(tmp_path / "a.csv", columns):
        pytest.fail("too late")
    with answers.written(tmp_path / "a.parquet", columns) as write:
        write(two())
    assert [None, None] == pd.read_parquet(tmp_path / "a.parquet")["box"].tolist()


def test_values_that_json_lacks_become_null_or_text() -> None:
    said: list[str] = []
    others = {"size": [float("nan"), 0.5], "day": [datetime.date(2026, 1, 2), None], "box": [[float("inf")], []]}
    table = two(**others)
    with answers.as_json(said.append, table.schema) as write:
        write(table)

    first, second = json.loads(said[0], parse_constant=pytest.fail)
    assert (None, [None], (0.5, None, [])) == (first["size"], first["box"], tuple(second[each] for each in others))
    assert first["day"].startswith("2026-01-02")


def test_paths_that_are_not_files_are_named_and_the_others_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    schema([tmp_path / "pipe.png"])  # does not open the pipe, because that would block
    bad = [tmp_path, tmp_path / "missing.png", tmp_path / "pipe.png", Path("/dev/null")]

    rows, errors = answered([save(tmp_path / "a.png"), *bad])

    assert [(str(tmp_path / "a.png"), 0, "light")] == rows
    reasons = ["it is not a file", "it cannot be read: No such file or directory", *["it is not a file"] * 2]
    assert [f"{path}: must be {READER.wanted}; {why}." for path, why in zip(bad, reasons, strict=True)] == errors

    monkeypatch.setattr(Path, "stat", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert "it cannot be read: Permission denied." in answered([tmp_path / "a.png"])[1][0]


def test_pages_and_pictures_stay_in_order_in_parts_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READER, "size", 4)
    pages = [Image.new("L", (2, 2), 255 * (number % 2)) for number in range(11)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])

    rows, errors = answered([tmp_path / "a.tiff", save(tmp_path / "b.png", 0)])

    expected = [(str(tmp_path / "a.tiff"), number, ["dark", "light"][number % 2]) for number in range(11)]
    assert [*expected, (str(tmp_path / "b.png"), 0, "dark")] == rows
    assert [] == errors


def test_the_rows_of_a_parquet_file_are_answered_in_parts_with_its_other_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(READER, "size", 3)
    monkeypatch.setattr(answers, "AT_A_TIME", 1)
    file = save_parquet(tmp_path / "a.parquet", [255, 0, 0, 200, 40], id=list("abcde"), label=[1, 0, 0, 1, 0])

    tables: list[pa.Table] = []
    answer([file], tables.append)

    assert [3, 2] == [len(table) for table in tables]
    table = pa.concat_tables(tables)
    assert ["light", "dark", "dark", "light", "dark"] == table["label"].to_pylist()
    assert [0, 1, 2, 3, 4] == table["index"].to_pylist()
    assert list("abcde") == table["id"].to_pylist()
    assert [1, 0, 0, 1, 0] == table["input_label"].to_pylist()
    assert table.schema == schema([file])


def test_a_row_that_cannot_be_read_ends_its_file_and_no_other(tmp_path: Path) -> None:
    bad = save_parquet(tmp_path / "a.parquet", [255, 256])
    rows, errors = answered([bad, save_parquet(tmp_path / "b.parquet", [0])])
    assert [(str(tmp_path / "b.parquet"), 0, "dark")] == rows
    assert [f"{bad}: column pixels, row 1: needs 2 × 2 = 4 numbers from 0 to 255; got 256."] == errors


def test_answers_have_the_columns_of_all_files(tmp_path: Path) -> None:
    first = save_parquet(tmp_path / "a.parquet", [255], id=[7])
    second = save_parquet(tmp_path / "b.parquet", [0], name=["x"])
    files = [first, save(tmp_path / "c.png"), second, tmp_path / "missing.parquet"]

    with answers.written(tmp_path / "answers.csv", schema(files)) as write:
        answer(files, write)

    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert '"id","name"' == lines[0][-11:]
    assert ["7,", ",", ',"x"'] == [",".join(line.split(",")[6:]) for line in lines[1:]]


def test_columns_of_one_name_and_several_types_are_refused(tmp_path: Path) -> None:
    files = [save_parquet(tmp_path / f"{kind}.parquet", [255], id=[value]) for kind, value in (("a", 1), ("b", "x"))]
    with pytest.raises(UsageError, match=r"columns of the same name must have the same type in all files: .*id"):
        schema(files)
