"""Tables of answers for files, from a model that measures the brightness of an image."""

import datetime
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
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
from pipeline.serving.image_files import ImageFiles
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


def answer(files: Sequence[Path], writer: Callable[[pa.Schema], AbstractContextManager[answers.Write]]) -> list[str]:
    """Classify files, and return the errors."""
    named = [(str(file), file) for file in files]
    return answers.answer(named, READER, CLASSIFIER, writer, by_step=False, cores=1)[1]


def tables(files: Sequence[Path]) -> tuple[list[pa.Table], list[str]]:
    """Return the answers in the parts in which they are written, and the errors."""
    found: list[pa.Table] = []
    errors = answer(files, lambda columns: nullcontext(found.append))
    return found, errors


def answered(files: Sequence[Path]) -> tuple[list[tuple[str, int, str]], list[str]]:
    """Return file, index and label of each answer, and the errors."""
    found, errors = tables(files)
    return [(row["file"], row["index"], row["label"]) for table in found for row in table.to_pylist()], errors


def two(**others: Any) -> pa.Table:
    """Return the answers to two images of the classes dark and light."""
    rows = answers.rows("a", range(2), pa.table(others))
    return answers.table(rows, np.eye(2, dtype=np.float32), CLASSIFIER.class_names)


ODD = {
    "new\nline.png": "new\\nline.png",
    "\x1b[31mred.png": "\\x1b[31mred.png",
    "ü 'q\".png": "ü 'q\".png",
    "=1+1,[bold]x.png": "=1+1,[bold]x.png",
}
"""Names of files, and how they are printed."""


@pytest.mark.parametrize("name", [*ODD, "\udcff.png"], ids=repr)
def test_a_file_name_is_printed_without_control_characters(tmp_path: Path, name: str) -> None:
    path, shown = tmp_path / name, ODD.get(name, "\\udcff.png")
    path.write_text("no picture") if name in ODD else save(path)
    rows, (said,) = answered([path])
    assert [] == rows
    assert said.startswith(f"{tmp_path}/{shown}: {'must be a picture' if name in ODD else 'cannot be read: '}")
    assert said.isprintable()
    if name in ODD:
        table = two().set_column(0, "file", pa.array([str(path), "b"]))
        assert answers.lines(table).splitlines()[0].startswith(f"{tmp_path}/{shown}    dark   100.00%   then light")


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
    said = r"output: cannot write to .*a\.csv: .* A CSV file has no lists and no records: write a \.parquet file\."
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


def test_files_that_cannot_be_read_are_named_and_the_others_answered(tmp_path: Path) -> None:
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    np.savez(tmp_path / "objects.npz", x=np.array([{}]))
    bad = [tmp_path, tmp_path / "missing.png", tmp_path / "damaged.parquet"]

    rows, errors = answered([save(tmp_path / "a.png"), *bad, tmp_path / "objects.npz"])

    assert [(str(tmp_path / "a.png"), 0, "light")] == rows
    reasons = ["Is a directory.", "No such file or directory.", "Parquet file size is 4 bytes"]
    for path, reason, error in zip(bad, reasons, errors, strict=False):
        assert error.startswith(f"{path}: cannot be read: {reason}")
    assert errors[3].startswith(f"{tmp_path / 'objects.npz'}: must have the arrays")


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

    parts, _ = tables([file])

    assert [3, 2] == [len(table) for table in parts]
    table = pa.concat_tables(parts)
    assert ["light", "dark", "dark", "light", "dark"] == table["label"].to_pylist()
    assert [0, 1, 2, 3, 4] == table["index"].to_pylist()
    assert list("abcde") == table["id"].to_pylist()
    assert [1, 0, 0, 1, 0] == table["input_label"].to_pylist()


def test_answers_have_the_columns_of_all_files(tmp_path: Path) -> None:
    first = save_parquet(tmp_path / "a.parquet", [255], id=[7])
    second = save_parquet(tmp_path / "b.parquet", [0], name=["x"])
    files = [first, save(tmp_path / "c.png"), second, tmp_path / "missing.parquet"]

    answer(files, partial(answers.written, tmp_path / "answers.csv"))

    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert '"id","name"' == lines[0][-11:]
    assert ["7,", ",", ',"x"'] == [",".join(line.split(",")[6:]) for line in lines[1:]]


def test_columns_of_one_name_and_several_types_are_refused(tmp_path: Path) -> None:
    files = [save_parquet(tmp_path / f"{kind}.parquet", [255], id=[value]) for kind, value in (("a", 1), ("b", "x"))]
    with pytest.raises(UsageError, match=r"columns of the same name must have the same type in all files: .*id"):
        tables(files)
