"""Each format of a source is recognised and read; the test makes the files, and expected values are written by hand."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data import formats
from pipeline.data.contents import Contents
from pipeline.errors import DataError, UsageError
from pipeline.kinds.kind import lengths
from pipeline.settings import DataSettings

NAN = float("nan")

TS = """# A comment.
@problemName Toy
@timeStamps false
@classLabel true left right
@data
1,2,3:10,20,30:right
4:40:left
5,?:50,NaN:right
"""
TSV = "1\t0.5\t1.5\tNaN\n-1\t2\t3\t4\n10\t5\t6\t7\n"
CSV = """,id,time,label,x,note,y
0,b,2,NA,3,good,30
1,b,1,NA,1.5,good,10
2,a,1,None,7,bad,70
"""
"""A table with a column of row numbers, as written by pandas."""


def read(source: Path, **given: Any) -> Contents:
    return formats.read(DataSettings(source=str(source), **given))


def examples(contents: Contents, part: str = "train") -> list[tuple[str, str, Any]]:
    """Return the id, the label and the values of each example, sequences without their padding."""
    split, values = contents.parts[part], contents.parts[part].examples.tolist()
    assert split.ids is not None
    if contents.features:
        values = [each[:steps] for each, steps in zip(values, lengths(split.examples), strict=True)]
    names = [contents.class_names[label] for label in split.labels]
    return list(zip(split.ids.tolist(), names, values, strict=True))


def write_images(folder: Path, **classes: list[np.ndarray[Any, Any]]) -> Path:
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder


def grey(value: int, height: int = 2, width: int = 3) -> np.ndarray[Any, Any]:
    return np.full((height, width), value, np.uint8)


# --- NumPy ----------------------------------------------------------------------------------------------------------


def saved(folder: Path, **changes: Any) -> Path:
    x = np.array([[[1, 2], [3, 4]], [[5, 6], [NAN, NAN]]])
    arrays: dict[str, Any] = {"x_train": x, "y_train": [10, 9], "x_test": x[:1, :1], "y_test": [[9]]} | changes
    np.savez(folder / "my data.npz", **{name: value for name, value in arrays.items() if value is not None})
    return folder / "my data.npz"


def test_arrays_of_sequences(tmp_path: Path) -> None:
    contents = read(saved(tmp_path))
    assert (f"my-data-{contents.digest[:8]}", ("feature_0", "feature_1")) == (contents.name, contents.features)
    assert [("0", "10", [[1, 2], [3, 4]]), ("1", "9", [[5, 6]])] == examples(contents)
    assert [("0", "9", [[1, 2]])] == examples(contents, "test")
    assert {((2, 2, 2), "float32"), ((1, 2, 2), "float32")} == {
        (part.examples.shape, part.examples.dtype.name) for part in contents.parts.values()
    }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["b", "a"], ("a", "b")),
        ([2.0, 10.0], ("2", "10")),
        (["1.5", "-2"], ("-2", "1.5")),
        (["2", "10", "a"], ("10", "2", "a")),
    ],
)
def test_labels_are_whole_numbers_or_texts_in_natural_order(
    tmp_path: Path, given: list[Any], names: tuple[str, ...]
) -> None:
    x = np.arange(len(given))[:, np.newaxis]
    contents = read(saved(tmp_path, x_train=x, y_train=given, x_test=x, y_test=given))
    assert (names, ("feature_0",)) == (contents.class_names, contents.features)
    assert [[[float(number)]] for number in range(len(given))] == [values for _, _, values in examples(contents)]


def test_arrays_of_images_and_a_validation_part(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    other = {"x_val": images[1:], "y_val": [1], "x_test": images[1:], "y_test": [1]}
    contents = read(saved(tmp_path, x_train=images[:1], y_train=[0], **other), dataset="other")
    assert ("other", ()) == (contents.name[:-9], contents.features)
    assert [("0", "1", images[1].tolist())] == examples(contents, "validation")
    assert {"uint8"} == {part.examples.dtype.name for part in contents.parts.values()}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"y_test": None}, "needs the arrays x_train, y_train, x_test, y_test; it has x_test, x_train, y_train"),
        ({"x_val": np.zeros((1, 1, 2))}, "needs the arrays .*, x_val, y_val; it has"),
        ({"x_train": np.array([[1], [1, 2]], dtype=object)}, "Object arrays cannot be loaded .* Pad sequences"),
        ({"x_train": np.zeros((2, 2, 2, 2))}, r"x_train: must be numbers .* float64 \(2, 2, 2, 2\)"),
        ({"x_train": np.array([["a"], ["b"]])}, r"x_train: must be numbers .* got <U1"),
        ({"y_train": [0.5, 1]}, "labels must be integers or texts .* got float64"),
        ({"y_train": [b"a", b"b"]}, r"labels must be integers or texts .* got \|S1"),
        ({"y_train": [0, 1, 0]}, "needs a label for each of 2 examples; got 3"),
        ({"x_test": np.zeros((1, 1, 3))}, "x_test: must have 2 features like .*x_train; got 3"),
        (
            {"x_train": np.zeros((2, 2, 3), np.uint8), "x_test": np.zeros((1, 3, 3), np.uint8)},
            "x_test: must have 2 × 3 pixels like .*x_train; got 3 × 3",
        ),
        (
            {"x_test": np.zeros((0, 2, 2)), "y_test": []},
            "x_test: needs at least one example, of at least one pixel",
        ),
        ({"y_train": [3, 3]}, "x_train: must have at least 2 classes; got only the label '3'"),
        ({"y_test": [4]}, r"x_test, example 0: must have a label of the training part \(9, 10\); got '4'"),
        ({"x_train": np.full((2, 2, 2), NAN)}, "x_train, example 0: must .* each of its 0 steps; got nan"),
        ({"x_train": [[[1, 2], [3, 4]], [[NAN, NAN], [1, 2]]]}, "example 1: must .* got nan for feature_0 at step 0"),
        ({"x_train": [[[1, 2], [3, NAN]], [[1, 2], [1, 2]]]}, "example 0: must .* got nan for feature_1 at step 1"),
        ({"x_test": [[[1, np.inf]]]}, "x_test, example 0: must .* got inf for feature_1 at step 0"),
        ({"x_test": [[[1e39, 1]]]}, "a finite float32 .* got 1e.39 for feature_0"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(tmp_path: Path, changes: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=f"my data.npz.*{complaint}"):
        read(saved(tmp_path, **changes))


# --- the UCR/UEA archive --------------------------------------------------------------------------------------------


def test_ts_files_with_unequal_lengths(tmp_path: Path) -> None:
    (tmp_path / "Toy_TRAIN.ts").write_text(TS)
    (tmp_path / "Toy_TEST.ts").write_text(TS.replace("4:40:left", "1,2,3,4:1,2,3,4:left"))
    contents = read(tmp_path)
    assert ("left", "right") == contents.class_names
    train = [("0", "right", [[1, 10], [2, 20], [3, 30]]), ("1", "left", [[4, 40]]), ("2", "right", [[5, 50]])]
    assert train == examples(contents)
    assert [3, 4, 1] == lengths(contents.parts["test"].examples).tolist()


def test_tsv_files_and_folders_of_an_archive(tmp_path: Path) -> None:
    for name in ("Toy", "Other"):
        (tmp_path / name).mkdir()
        for part in ("TRAIN", "TEST"):
            (tmp_path / name / f"{name}_{part}.tsv").write_text(TSV)
    contents = read(tmp_path, dataset="Toy")
    assert ("Toy", ("-1", "1", "10")) == (contents.name[:-9], contents.class_names)
    assert [[[0.5], [1.5]], [[2], [3], [4]], [[5], [6], [7]]] == [values for _, _, values in examples(contents)]
    for given, complaint in (({}, "got none"), ({"dataset": "Toi"}, r"got Toi\. Did you mean Toy\?")):
        with pytest.raises(UsageError, match=f"^dataset: must be one of .* in {tmp_path}, Other, Toy; {complaint}"):
            read(tmp_path, **given)


# --- tables ---------------------------------------------------------------------------------------------------------


def steps(count: int = 20, **changes: Any) -> pd.DataFrame:
    """Return a table of examples with two steps; every fourth example has class 1, the others class 0."""
    ids = np.repeat(np.arange(count), 2)
    table = {"id": ids, "time": [2, 1] * count, "label": (ids % 4 == 3).astype(int), "x": np.arange(2.0 * count)}
    return pd.DataFrame(table | changes)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_sorted_by_time_and_keep_the_order_of_ids(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    (tmp_path / "test.csv").write_text("y,x,label,id\n1,2,NA,0\n3,4,NA,0\n")
    if suffix == ".parquet":
        table = pd.read_csv(tmp_path / "train.csv", keep_default_na=False)
        table.to_parquet(tmp_path / "train.parquet")
        (tmp_path / "train.csv").unlink()
    contents = read(tmp_path, dataset="my gestures")
    assert ("my-gestures", ("x", "y"), ("NA", "None")) == (contents.name[:-9], contents.features, contents.class_names)
    assert [("b", "NA", [[1.5, 10], [3, 30]]), ("a", "None", [[7, 70]])] == examples(contents)
    assert [("0", "NA", [[2, 1], [4, 3]])] == examples(contents, "test")
    assert (f"Columns of {tmp_path}/train{suffix} that are not used as features: Unnamed: 0, note.",) == contents.notes


def test_without_a_test_part_a_fifth_of_the_ids_is_held_out(tmp_path: Path) -> None:
    names = {"id": "who", "time": "when", "label": "what"}
    steps().rename(columns=names).to_parquet(tmp_path / "a.parquet")
    contents, again = (read(tmp_path / "a.parquet", columns="id=who, time=when, label=what") for _ in range(2))
    train, test = examples(contents), examples(contents, "test")
    assert test == examples(again, "test")
    assert (16, ["0", "0", "0", "1"]) == (len(train), sorted(label for _, label, _ in test))
    assert {str(number) for number in range(20)} == {each[0] for each in train + test}
    assert [[[2.0 * int(each) + 1], [2.0 * int(each)]] for each, _, _ in test] == [values for _, _, values in test]
    (note,) = contents.notes
    assert "has no test part: a fifth of the examples (4 of 20) is held out as the test part" in note


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"label": [0, 1] * 20}, "id 0: must have one label; it has 0 and 1"),
        ({"label": ["a", *[None] * 39]}, "row 2: needs a value in column 'label'; it has none"),
        ({"time": [1, NAN] * 20}, "row 2: needs a value in column 'time'"),
        ({"time": [1, 2] * 19 + [3, 3]}, "id 19: must have one row for each time; it has several for 3"),
        ({"x": ["a"] * 40}, "needs columns of numbers; of its columns id, time, label, x these have numbers: none"),
        ({"x": [1, 2, 3, NAN] * 10}, "example 1: .* each of its 2 steps; got nan for x at step 0"),
        ({"x": [1, NAN, 3, 4] * 10, "time": [1, 2] * 20, "z": 1.0}, "example 0: .* got nan for x at step 1"),
        ({"x": [NAN, NAN, 1, 2] * 10}, "example 0: .* each of its 0 steps"),
        ({"label": 7}, "must have at least 2 classes; got only the label '7'"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_that_cannot_be_trained_on_are_refused(
    tmp_path: Path, suffix: str, changes: Any, complaint: str
) -> None:
    path = tmp_path / f"table.{suffix}"
    getattr(steps(**changes), f"to_{suffix}")(path, index=False)
    with pytest.raises(DataError, match=f"{path}.*{complaint}"):
        read(path)


def test_types_of_numbers_in_a_parquet_file(tmp_path: Path) -> None:
    """Whole numbers that may be missing, truth values, dates, durations and texts."""
    whole = pd.array([1, 2] * 20, "Int64")
    table = steps(
        whole=whole, flag=[True, False] * 20, day=pd.Timestamp(0), took=pd.Timedelta(1), mixed=["1", "-"] * 20
    )
    table.to_parquet(tmp_path / "a.parquet")
    contents = read(tmp_path / "a.parquet")
    assert ("x", "whole", "flag") == contents.features
    assert [[1, 2, 0], [0, 1, 1]] == examples(contents)[0][2]
    assert re.search(r"not used as features: day, took, mixed\.", contents.notes[0])


@pytest.mark.parametrize("columns", ["id", "id=", "name=x", "id=a,,label=b"])
def test_columns_are_given_by_role(tmp_path: Path, columns: str) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(UsageError, match=f"^columns: must be a list such as .* got '{columns}'"):
        read(tmp_path / "a.csv", columns=columns)


# --- folders of images ----------------------------------------------------------------------------------------------


def test_images_in_a_folder_for_each_class(tmp_path: Path) -> None:
    write_images(tmp_path / "train", cat=[grey(1)], dog=[np.full((2, 3, 3), (255, 0, 0), np.uint8)])
    write_images(tmp_path / "test", cat=[np.full((2, 3), 7 * 257, np.uint16)], dog=[])
    (tmp_path / "test" / "cat" / "Thumbs.db").write_bytes(b"no image")
    contents = read(tmp_path)
    # Luma of red by ITU-R BT.601: 0.299 · 255 = 76.
    train = [("train/cat/0.png", "cat", grey(1).tolist()), ("train/dog/0.png", "dog", grey(76).tolist())]
    assert train == examples(contents)
    assert [("test/cat/0.png", "cat", grey(7).tolist())] == examples(contents, "test")
    assert ("uint8", ()) == (contents.parts["train"].examples.dtype.name, contents.features)


def test_images_without_a_test_part_and_of_several_sizes(tmp_path: Path) -> None:
    write_images(tmp_path, a=[grey(9, 4, 4)] * 5, b=[grey(200, 8, 6)] * 5)
    with pytest.raises(DataError, match=r"b/0.png: must have 4 × 4 pixels like .*a/0.png; it has 8 × 6. Give image_s"):
        read(tmp_path)
    train, test = read(tmp_path, image_size=5).parts.values()
    assert ((8, 5, 5), [1, 1]) == (train.examples.shape, np.bincount(test.labels).tolist())
    assert {9, 200} == {*train.examples.ravel()}


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: b"GIF89a"])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 20)).astype(np.uint8)
    path = write_images(tmp_path, a=[noise] * 2, b=[noise] * 2) / "b" / "1.png"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"^{path}: must be a whole PNG or JPEG image; reading failed"):
        read(tmp_path)


# --- what is refused ------------------------------------------------------------------------------------------------


def changed(old: str, new: str) -> dict[str, str]:
    return {"Toy_TRAIN.ts": TS, "Toy_TEST.ts": TS.replace(old, new)}


TABLE = "id,label,x\n1,a,2\n2,b,3\n"


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (changed("@data\n", ""), r"Toy_TEST.ts: must have a header .* it begins with '# A comment"),
        (changed("@timeStamps false", "@timeStamps true"), "without time stamps"),
        (changed("@classLabel true left right", "@classLabel false"), "must have a header with @classLabel true"),
        (changed("4:40:left", "4:40:up"), r"line 7: must have a label of the training part \(left, right\); got 'up'"),
        (changed("4:40:left", "4:left"), "line 7: must have 2 features; got 1"),
        (changed("4:40:left", "4:x:left"), "line 7: must have numbers, .* reading failed: .*'x'"),
        (changed("1,2,3:", "1,?,3:"), "Toy_TEST.ts, line 6: must .* its 3 steps; got nan for feature_0 at step 1"),
        (changed("4:40", "4,5:40"), "Toy_TEST.ts, line 7: must .* its 2 steps; got nan for feature_1 at step 1"),
        (changed("4:40:left", "?:?:left"), "Toy_TEST.ts, line 7: must .* its 0 steps"),
        (changed(TS[TS.index("1,2,3") :], ""), "Toy_TEST.ts: needs at least one example, of at least one pixel"),
        ({"Toy_TRAIN.ts": TS}, "must have Toy_TRAIN and Toy_TEST, each once, .* it has Toy_TRAIN.ts"),
        (changed("", "") | {"Toy_TRAIN.tsv": TSV}, "each once, .* it has Toy_TEST.ts, Toy_TRAIN.ts, Toy_TRAIN.tsv"),
        ({"test.csv": CSV}, "^source: must be .* has test.csv"),
        ({"train.csv": TABLE + "1,a,2,3,4\n"}, "train.csv: must be a whole Parquet or CSV file; .*: .*line 4"),
        ({"train.parquet": "PAR1" + "\0" * 20}, "train.parquet: must be a whole Parquet or CSV file"),
        (
            {"train.csv": TABLE.replace("label", "class")},
            "the columns id, label; its columns are id, class, x. Rename",
        ),
        ({"train.csv": "id,label,x\n"}, "train.csv: needs columns of numbers; of its columns id, label, x"),
        (
            {"train.csv": CSV, "test.csv": TABLE},
            "test.csv: needs the columns of numbers x, y; of its columns id",
        ),
        ({"file": "1,2"}, "^source: must be a folder with the four files .*/file has none of these formats"),
        ({f"{number}.png": "" for number in range(30)}, r"^source: must be .* has .*16\.png, 17\.png and 20 more"),
        ({"train-images-idx3-ubyte": "", "train-labels": ""}, "^source: .* has train-images-idx3-ubyte, train-labels"),
        ({"x.npz": "PK"}, "x.npz: must have the arrays x_train.* reading failed"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=complaint):
        read(tmp_path / next(iter(files)) if {"file", "x.npz"} & {*files} else tmp_path)


def test_a_source_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^source: must be a file or folder that exists; {tmp_path}/no does not"):
        read(tmp_path / "no")


@pytest.mark.parametrize(("options", "only"), [({"columns": "id=a"}, "tables"), ({"image_size": 28}, "pictures")])
def test_options_for_other_formats_are_refused(tmp_path: Path, options: dict[str, Any], only: str) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(options))}: is only for {only}; .*my data.npz has arrays"):
        read(saved(tmp_path), **options)
