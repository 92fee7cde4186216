"""Tables of answers for files, from a model that measures the brightness of an image."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.serving import answers
from pipeline.serving.readers import ImageFiles
from pipeline.tracking.models import Classifier


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


def tables(files: Sequence[Path]) -> tuple[list[pa.Table], list[str]]:
    """Return the answers in parts, and the errors."""
    named, failed = [(str(file), file) for file in files], dict[str, str]()
    found = [*answers.answer(named, READER, CLASSIFIER, failed, by_step=False, cores=1)]
    return found, [*failed.values()]


def answered(files: Sequence[Path]) -> tuple[list[tuple[str, int, str]], list[str]]:
    """Return file, index and label of each answer, and the errors."""
    found, errors = tables(files)
    return [(row["file"], row["index"], row["label"]) for table in found for row in table.to_pylist()], errors


def two(**others: Any) -> pa.Table:
    """Return the answers to two images of the classes dark and light."""
    rows = answers.rows("a", range(2), pa.table(others))
    return answers.table(rows, np.eye(2, dtype=np.float32), CLASSIFIER.class_names)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("new\nline.png", "new\\nline.png"), ("\x1b[31mred.png", "\\x1b[31mred.png"), ("ü 'q\".png", "ü 'q\".png")],
)
def test_a_file_name_is_printed_without_control_characters(name: str, shown: str) -> None:
    table = two().set_column(0, "file", pa.array([name, "b"]))
    assert answers.lines(table).splitlines()[0].startswith(f"{shown}    dark   100.00%   then light")


def test_a_column_with_the_name_of_an_answer_gets_another_name() -> None:
    others = {"label": [3, 4], "input_label": ["x", "y"]}
    table = two(**others)
    assert [*two().column_names, "input_label", "input_input_label"] == table.column_names
    assert [3, 4] == table["input_label"].to_pylist()
    assert ["x", "y"] == table["input_input_label"].to_pylist()


@pytest.mark.parametrize("value", [[1.5], {"a": 1}], ids=["list", "record"])
def test_columns_that_a_csv_file_cannot_contain_are_refused(tmp_path: Path, value: Any) -> None:
    said = r"output: cannot write to .*a\.csv: .* A CSV file has no lists and no records: write a \.parquet file\."
    with pytest.raises(UsageError, match=said):
        answers.write(iter([two(box=[value, value])]), tmp_path / "a.csv", {})
    assert [] == [*tmp_path.iterdir()]
    assert 2 == answers.write(iter([two(box=[value, value])]), tmp_path / "a.parquet", {})


def test_values_that_json_lacks_become_null_or_text() -> None:
    others = {"size": [float("nan"), 0.5], "day": [datetime.date(2026, 1, 2), None], "box": [[float("inf")], []]}
    first, second = json.loads(answers.as_json(iter([two(**others)])), parse_constant=pytest.fail)
    assert (None, [None], (0.5, None, [])) == (first["size"], first["box"], tuple(second[each] for each in others))
    assert first["day"].startswith("2026-01-02")


def test_files_that_cannot_be_read_are_named_and_the_others_answered(tmp_path: Path) -> None:
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    bad = [tmp_path, tmp_path / "missing.png", tmp_path / "damaged.parquet"]

    rows, errors = answered([save(tmp_path / "a.png"), *bad])

    assert [(str(tmp_path / "a.png"), 0, "light")] == rows
    reasons = ["Is a directory.", "No such file or directory.", "Parquet file size is 4 bytes"]
    for path, reason, error in zip(bad, reasons, errors, strict=True):
        assert error.startswith(f"{path}: cannot be read: {reason}")


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
    file = save_parquet(tmp_path / "a.parquet", [255, 0, 0, 200, 40], id=list("abcde"), label=[1, 0, 0, 1, 0])

    parts, _ = tables([file])

    assert [3, 2] == [len(table) for table in parts]
    table = pa.concat_tables(parts)
    assert ["light", "dark", "dark", "light", "dark"] == table["label"].to_pylist()
    assert [0, 1, 2, 3, 4] == table["index"].to_pylist()
    assert list("abcde") == table["id"].to_pylist()
    assert [1, 0, 0, 1, 0] == table["input_label"].to_pylist()


@pytest.mark.parametrize(("rows", "groups"), [(5, [6, 4]), (10_000, [10])])
def test_small_parts_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, rows: int, groups: list[int]
) -> None:
    monkeypatch.setattr(answers, "ROWS", rows)
    assert 10 == answers.write(iter([two()] * 5), tmp_path / "a.parquet", {})
    written = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert groups == [written.row_group(number).num_rows for number in range(written.num_row_groups)]


def test_a_file_whose_columns_differ_from_the_first_is_left_out_of_a_table(tmp_path: Path) -> None:
    files = [
        save_parquet(tmp_path / f"{name}.parquet", [255], id=[each]) for name, each in (("a", 1), ("b", "x"), ("c", 2))
    ]
    found, _ = tables([*files, save(tmp_path / "d.png")])
    failed: dict[str, str] = {}

    assert 2 == answers.write(iter(found), tmp_path / "answers.csv", failed)

    assert [1, 2] == pd.read_csv(tmp_path / "answers.csv")["id"].tolist()
    assert [str(files[1]), str(tmp_path / "d.png")] == [*failed]
    assert failed[str(files[1])].startswith("its columns differ from those of the first file")
