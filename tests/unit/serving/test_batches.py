import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data import idx
from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.serving import answers, batches
from pipeline.serving.batches import Reading
from pipeline.tracking.classifier import Classifier


class Darkness:
    """Stands for a loaded model: says "light" of an image with the brightness of its first pixel as probability."""

    def predict(self, pixels: Any) -> Any:
        light = pixels[:, 0, 0] / 255
        return np.stack([1 - light, light], axis=1)


CLASSIFIER = Classifier(
    Darkness(),  # type: ignore[arg-type]
    dataset="shades",
    class_names=["dark", "light"],
    kind=Images(height=2, width=2),
)


def save(path: Path, brightness: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), brightness).save(path)
    return path


def answered(files: Sequence[Path]) -> tuple[list[tuple[str, int, str]], list[str]]:
    """Return file, index and label of each answer, and the errors."""
    tables: list[pa.Table] = []
    _, unread = batches.answer(files, CLASSIFIER, tables.append, Reading(), cores=1)
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return [(row["file"], row["index"], row["label"]) for row in rows], [str(error) for error in unread]


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in batches.files([folder])]


def test_litter_of_archives_and_systems_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for name in (
        "._a.png",
        "__MACOSX/._a.png",
        "__MACOSX/a.png",
        ".DS_Store",
        "Thumbs.db",
        "sub/._b.png",
        "desktop.ini",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert ["a.png"] == names(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("T10K-IMAGES-IDX3-UBYTE.gz", "t10k-labels-idx1-ubyte.gz"),
    ],
)
def test_labels_beside_their_images_are_left_out(tmp_path: Path, images: str, labels: str) -> None:
    (tmp_path / images).write_bytes(idx.encode(np.zeros((3, 2, 2), np.uint8)))
    (tmp_path / labels).write_bytes(idx.encode(np.zeros(3, np.uint8)))
    assert [images] == names(tmp_path)
    assert 1 == len(answered([tmp_path / labels])[1])


def test_links_are_followed_each_folder_once(tmp_path: Path) -> None:
    save(tmp_path / "here" / "a.png")
    save(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "lost.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "here" / "itself.png").symlink_to(tmp_path / "here" / "itself.png")

    files = batches.files([tmp_path / "here"])
    rows, errors = answered(files)

    assert ["a.png", "itself.png", "lost.png", "there/b.png"] == names(tmp_path / "here")
    assert ["a.png", "b.png"] == [Path(file).name for file, _, _ in rows]
    assert ["Too many levels of symbolic links", "No such file or directory"] == [
        error.partition("received: ")[2].rstrip(".") for error in errors
    ]


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "locked" / "b.png")

    def unless_locked(listed: Any) -> Any:
        def listing(path: Any = ".") -> Any:
            if Path(path).name == "locked":
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        return listing

    for module, function in ((Path, "iterdir"), (os, "scandir")):
        monkeypatch.setattr(module, function, unless_locked(getattr(module, function)))
    rows, errors = answered(batches.files([tmp_path]))

    assert ["a.png"] == [Path(file).name for file, _, _ in rows]
    assert [
        f"{tmp_path / 'locked'}: expected a picture or an IDX or Parquet file, received: Permission denied."
    ] == errors


def test_what_cannot_even_be_looked_at_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: Path, **_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", stat)
    rows, errors = answered(batches.files([tmp_path / "a.png"]))
    assert [] == rows
    assert "received: Permission denied." in errors[0]


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    Reading().schema([tmp_path / "pipe.png"], CLASSIFIER)  # does not open the pipe, which would wait
    rows, errors = answered([tmp_path / "pipe.png", Path("/dev/null"), save(tmp_path / "a.png")])
    assert [(str(tmp_path / "a.png"), 0, "light")] == rows
    assert ["received something that is not a file."] * 2 == [error.partition(", ")[2] for error in errors]


def test_the_pages_of_a_file_are_counted(tmp_path: Path) -> None:
    pages = [Image.new("L", (2, 2), brightness) for brightness in (255, 0, 200)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])

    rows, errors = answered([tmp_path / "a.tiff", save(tmp_path / "b.png", 0)])

    expected = [("a.tiff", 0, "light"), ("a.tiff", 1, "dark"), ("a.tiff", 2, "light"), ("b.png", 0, "dark")]
    assert [(str(tmp_path / file), index, label) for file, index, label in expected] == rows
    assert [] == errors


def test_more_pages_than_a_part_holds_stay_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK", 4)
    pages = [Image.new("L", (2, 2), 255 * (number % 2)) for number in range(11)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    rows, _ = answered([tmp_path / "a.tiff"])
    assert [(number, ["dark", "light"][number % 2]) for number in range(11)] == [row[1:] for row in rows]


def test_errors_name_odd_files_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "new\nline\x1b[31m.png").write_text("no picture")
    _, errors = answered(batches.files([tmp_path]))
    assert f"{tmp_path}/new\\nline\\x1b[31m.png: expected a picture" in errors[0]
    assert errors[0].isprintable()


def test_the_users_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "digits" / "a.png")
    assert [tmp_path / "digits" / "a.png"] == batches.files([Path("~/digits")])


def save_parquet(path: Path, brightness: Sequence[int], **others: Any) -> Path:
    pq.write_table(pa.table({"pixels": [[each] * 4 for each in brightness], **others}), path)
    return path


def test_the_rows_of_a_parquet_file_are_answered_and_its_other_columns_go_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "IN_MEMORY", 12)  # pixels: three rows
    file = save_parquet(tmp_path / "a.parquet", [255, 0, 0, 200, 40], id=list("abcde"), label=[1, 0, 0, 1, 0])

    tables: list[pa.Table] = []
    batches.answer([file], CLASSIFIER, tables.append, Reading(), cores=1)

    assert [3, 2] == [len(table) for table in tables]
    table = pa.concat_tables(tables)
    assert ["light", "dark", "dark", "light", "dark"] == table["label"].to_pylist()
    assert [0, 1, 2, 3, 4] == table["index"].to_pylist()
    assert list("abcde") == table["id"].to_pylist()
    assert [1, 0, 0, 1, 0] == table["input_label"].to_pylist()
    assert table.schema == Reading().schema([file], CLASSIFIER)


def test_a_row_that_cannot_be_read_ends_its_file_and_no_other(tmp_path: Path) -> None:
    bad = save_parquet(tmp_path / "a.parquet", [255, 256])
    rows, errors = answered([bad, save_parquet(tmp_path / "b.parquet", [0])])
    assert [(str(tmp_path / "b.parquet"), 0, "dark")] == rows
    assert [f"{bad}: column pixels, row 1: expected 2 × 2 = 4 numbers from 0 to 255, received 256."] == errors


def test_the_columns_of_files_are_those_of_all(tmp_path: Path) -> None:
    first = save_parquet(tmp_path / "a.parquet", [255], id=[7])
    second = save_parquet(tmp_path / "b.parquet", [0], name=["x"])
    files = [first, save(tmp_path / "c.png"), second, tmp_path / "missing.parquet"]

    with answers.written(tmp_path / "answers.csv", Reading().schema(files, CLASSIFIER)) as write:
        batches.answer(files, CLASSIFIER, write, Reading(), cores=1)

    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert '"id","name"' == lines[0][-11:]
    assert ["7,", ",", ',"x"'] == [",".join(line.split(",")[6:]) for line in lines[1:]]


def test_columns_of_one_name_and_several_types_are_refused(tmp_path: Path) -> None:
    files = [save_parquet(tmp_path / f"{kind}.parquet", [255], id=[value]) for kind, value in (("a", 1), ("b", "x"))]
    with pytest.raises(UsageError, match=r"columns of one name have one type, received different ones: .*id"):
        Reading().schema(files, CLASSIFIER)


def test_answers_that_lie_in_a_folder_are_no_input(tmp_path: Path) -> None:
    file = save_parquet(tmp_path / "a.parquet", [255])
    with answers.written(tmp_path / "answers.parquet", Reading().schema([file], CLASSIFIER)) as write:
        batches.answer([file], CLASSIFIER, write, Reading(), cores=1)
    assert ["a.parquet"] == names(tmp_path)
