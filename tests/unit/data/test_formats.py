"""Each format of a source, recognised and read; files are made here, and expected values are written by hand."""

import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data import formats
from pipeline.data.contents import Contents, Part, lengths
from pipeline.errors import DataError, UsageError

NAN = float("nan")
ARCHIVE = Path(__file__).parents[4] / "shared" / "sequences"

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
CSV = """id,time,label,x,note,y
b,2,NA,3,good,30
b,1,NA,1.5,good,10
a,1,None,7,bad,70
"""


def rows(part: Part) -> list[list[list[float]]]:
    """Return the examples without their padding."""
    return [example[:steps].tolist() for example, steps in zip(part.examples, lengths(part.examples), strict=True)]


def labels(contents: Contents, part: Part) -> list[str]:
    return [contents.class_names[label] for label in part.labels]


def write_images(folder: Path, **classes: list[np.ndarray[Any, Any]]) -> Path:
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder


def grey(value: int, height: int = 2, width: int = 3) -> np.ndarray[Any, Any]:
    return np.full((height, width), value, np.uint8)


# --- NumPy ----------------------------------------------------------------------------------------------------------


def arrays(**changes: Any) -> dict[str, Any]:
    x = np.array([[[1, 2], [3, 4]], [[5, 6], [NAN, NAN]]])
    return {"x_train": x, "y_train": [10, 9], "x_test": x[:1, :1], "y_test": [[9]]} | changes


def saved(folder: Path, **changes: Any) -> Path:
    np.savez(folder / "my data.npz", **{name: value for name, value in arrays(**changes).items() if value is not None})
    return folder / "my data.npz"


def test_arrays_of_sequences(tmp_path: Path) -> None:
    contents = formats.read(saved(tmp_path))
    assert ("my-data", ("feature_0", "feature_1"), ("9", "10")) == (
        contents.name,
        contents.features,
        contents.class_names,
    )
    assert ((2, 2, 2), (1, 2, 2), "float32") == (
        contents.train.examples.shape,
        contents.test.examples.shape,
        contents.train.examples.dtype.name,
    )
    assert ([[[1, 2], [3, 4]], [[5, 6]]], [[[1, 2]]]) == (rows(contents.train), rows(contents.test))
    assert (["10", "9"], ["9"], ("0", "1")) == (
        labels(contents, contents.train),
        labels(contents, contents.test),
        contents.train.ids,
    )
    assert (None, ()) == (contents.validation, contents.notes)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["b", "a"], ("a", "b")),
        ([2.0, 10.0], ("2", "10")),
        ([b"x", b"w"], ("w", "x")),
        (["1.5", "-2"], ("-2", "1.5")),
        (["2", "10", "a"], ("10", "2", "a")),
    ],
)
def test_labels_are_whole_numbers_or_texts_in_natural_order(
    tmp_path: Path, given: list[Any], names: tuple[str, ...]
) -> None:
    x = np.arange(len(given))[:, np.newaxis]
    contents = formats.read(saved(tmp_path, x_train=x, y_train=given, x_test=x, y_test=given))
    assert names == contents.class_names
    assert ("feature_0",) == contents.features
    assert [[[float(number)]] for number in range(len(given))] == rows(contents.train)


def test_arrays_of_images_and_a_validation_part(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    source = saved(
        tmp_path, x_train=images[:1], y_train=[0], x_val=images[1:], y_val=[1], x_test=images[1:], y_test=[1]
    )
    assert "images" == formats.recognise(source, "other").kind  # type: ignore[union-attr]
    contents = formats.read(source, dataset="other")
    assert contents.validation is not None
    assert ("other", (), ("0", "1"), "uint8") == (
        contents.name,
        contents.features,
        contents.class_names,
        contents.train.examples.dtype.name,
    )
    assert images[1:].tolist() == contents.validation.examples.tolist()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"y_test": None}, "expected the arrays x_train, y_train, x_test, y_test, received x_test, x_train, y_train"),
        ({"x_train": None}, "received: .*There is no item named 'x_train.npy'"),
        ({"x_val": np.zeros((1, 1, 2))}, "expected the arrays .*, x_val, y_val, received"),
        ({"x_train": np.array([[1], [1, 2]], dtype=object)}, "Object arrays cannot be loaded .* Arrays of objects"),
        ({"x_train": np.zeros((2, 2, 2, 2))}, r"x_train: expected examples of numbers .* float64 \(2, 2, 2, 2\)"),
        ({"x_train": np.array([["a"], ["b"]])}, r"x_train: expected examples of numbers .* received <U1"),
        ({"y_train": [0.5, 1]}, "expected labels .* that are integers or texts, received float64"),
        ({"y_train": [[0, 1], [1, 0]]}, r"expected labels \(N,\) .* received int64 \(2, 2\)"),
        ({"y_train": ["é".encode(), b"a"]}, "received: .*codec can't decode"),
        ({"y_train": [0, 1, 0]}, "expected a label for each of 2 examples, received 3"),
        ({"x_test": np.zeros((1, 1, 3))}, "x_test: expected 2 features as in .*x_train, received 3"),
        ({"x_train": np.zeros((0, 2, 2)), "y_train": []}, "expected at least one non-empty example"),
        ({"x_test": np.zeros((0, 2, 2)), "y_test": []}, "x_test: expected at least one non-empty example"),
        ({"y_train": [3, 3]}, "x_train: expected at least 2 classes, received only the label '3'"),
        ({"y_test": [4]}, r"x_test, example 0: expected a label of the training part \(9, 10\), received '4'"),
        ({"x_train": np.full((2, 2, 2), NAN)}, "x_train, example 0: expected .* each of its 0 steps, received nan"),
        ({"x_train": [[[1, 2], [3, 4]], [[NAN, NAN], [1, 2]]]}, "example 1: .* received nan for feature_0 at step 0"),
        ({"x_train": [[[1, 2], [3, NAN]], [[1, 2], [1, 2]]]}, "example 0: .* received nan for feature_1 at step 1"),
        ({"x_test": [[[1, np.inf]]]}, "x_test, example 0: .* received inf for feature_1 at step 0"),
        ({"x_test": [[[1e39, 1]]]}, "a finite float32 .* received 1e.39 for feature_0"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(tmp_path: Path, changes: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=f"my data.npz.*{complaint}"):
        formats.read(saved(tmp_path, **changes))


def test_images_of_two_sizes_in_arrays_are_refused(tmp_path: Path) -> None:
    images = {"x_train": np.zeros((2, 2, 3), np.uint8), "x_test": np.zeros((1, 3, 3), np.uint8)}
    with pytest.raises(DataError, match=r"x_test: expected 2 × 3 pixels as in .*x_train, received 3 × 3"):
        formats.read(saved(tmp_path, **images))


def test_constant_features_are_noted(tmp_path: Path) -> None:
    contents = formats.read(saved(tmp_path, x_train=[[[1, 2], [1, 3]], [[1, 2], [NAN, NAN]]]))
    assert (
        "These features are constant in the training part: feature_0. They carry no information.",
    ) == contents.notes


# --- the UCR/UEA archive --------------------------------------------------------------------------------------------


def test_ts_files_with_unequal_lengths(tmp_path: Path) -> None:
    (tmp_path / "Toy_TRAIN.ts").write_text(TS)
    (tmp_path / "Toy_TEST.ts").write_text(TS.replace("4:40:left", "1,2,3,4:1,2,3,4:left"))
    contents = formats.read(tmp_path)
    assert ("Toy", ("left", "right"), (3, 4, 2)) == (
        contents.name,
        contents.class_names,
        contents.train.examples.shape,
    )
    assert [[[1, 10], [2, 20], [3, 30]], [[4, 40]], [[5, 50]]] == rows(contents.train)
    assert [3, 4, 1] == lengths(contents.test.examples).tolist()
    assert (["right", "left", "right"], ("0", "1", "2")) == (labels(contents, contents.train), contents.train.ids)


def test_tsv_files_and_folders_of_an_archive(tmp_path: Path) -> None:
    for name in ("Toy", "Other"):
        (tmp_path / name).mkdir()
        for part in ("TRAIN", "TEST"):
            (tmp_path / name / f"{name}_{part}.tsv").write_text(TSV)
    contents = formats.read(tmp_path, dataset="Toy")
    assert ("Toy", ("-1", "1", "10")) == (contents.name, contents.class_names)
    assert [[[0.5], [1.5]], [[2], [3], [4]], [[5], [6], [7]]] == rows(contents.train)
    assert ["Toy_TRAIN.tsv", "Toy_TEST.tsv"] == [path.name for path in formats.files_of(tmp_path, "Toy")]
    for dataset, complaint in ((None, "received none"), ("Toi", r"received Toi\. Did you mean Toy\?")):
        with pytest.raises(UsageError, match=f"^dataset: expected one of those in {tmp_path}, Other, Toy; {complaint}"):
            formats.recognise(tmp_path, dataset)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("@data\n", "", r"Toy_TEST.ts: expected a header .* received '# A comment"),
        ("@timeStamps false", "@timeStamps true", "without time stamps"),
        ("@classLabel true left right", "@classLabel false", "expected a header with @classLabel true"),
        ("4:40:left", "4:4", "Toy_TEST.ts, line 7: expected one of the labels left, right, received '4'"),
        ("4:40:left", "4:left", "line 7: expected 2 features, received 1"),
        ("4:40:left", "4:x:left", "line 7: expected numbers, received: .*'x'"),
        ("1,2,3:", "1,?,3:", "Toy_TEST.ts, example 0: .* its 3 steps, received nan for feature_0 at step 1"),
        ("1,2,3:", "1,2:", "Toy_TEST.ts, example 0: .* its 3 steps, received nan for feature_0 at step 2"),
        ("4:40:left", "?:?:left", "Toy_TEST.ts, example 1: .* its 0 steps"),
        (TS[TS.index("1,2,3") :], "", "Toy_TEST.ts: expected at least one non-empty example"),
    ],
)
def test_damaged_ts_files_are_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    (tmp_path / "Toy_TRAIN.ts").write_text(TS)
    (tmp_path / "Toy_TEST.ts").write_text(TS.replace(old, new))
    with pytest.raises(DataError, match=complaint):
        formats.read(tmp_path)


@pytest.mark.parametrize("names", [["Toy_TRAIN.ts"], ["Toy_TRAIN.ts", "Toy_TRAIN.tsv", "Toy_TEST.ts"]])
def test_each_part_of_an_archive_is_there_once(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text(TS)
    with pytest.raises(DataError, match=f"expected Toy_TRAIN and Toy_TEST, each once.* received .*{names[0]}"):
        formats.recognise(tmp_path)


@pytest.mark.skipif(not ARCHIVE.is_dir(), reason="the data sets of the archive are not here")
@pytest.mark.parametrize(
    ("name", "train", "test", "shortest", "classes"),
    [
        ("JapaneseVowels", (270, 29, 12), (370, 29, 12), 7, tuple("123456789")),
        ("BasicMotions", (40, 100, 6), (40, 100, 6), 100, ("Badminton", "Running", "Standing", "Walking")),
        ("GunPoint", (50, 150, 1), (150, 150, 1), 150, ("1", "2")),
    ],
)
def test_published_data_sets(
    name: str, train: tuple[int, ...], test: tuple[int, ...], shortest: int, classes: tuple[str, ...]
) -> None:
    contents = formats.read(ARCHIVE, dataset=name)
    assert (train, test, classes) == (contents.train.examples.shape, contents.test.examples.shape, contents.class_names)
    assert shortest == min(lengths(contents.train.examples).min(), lengths(contents.test.examples).min())


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_folder_of_tables(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    (tmp_path / "test.csv").write_text("label,y,x,id\nNA,1,2,0\nNA,3,4,0\n")
    if suffix == ".parquet":
        for path in tmp_path.glob("*.csv"):
            pd.read_csv(path, keep_default_na=False).to_parquet(path.with_suffix(suffix))
            path.unlink()
    contents = formats.read(tmp_path, dataset="gestures")
    assert ("gestures", ("x", "y"), ("NA", "None")) == (contents.name, contents.features, contents.class_names)
    assert [[[1.5, 10], [3, 30]], [[7, 70]]] == rows(contents.train)
    assert (["NA", "None"], ("b", "a")) == (labels(contents, contents.train), contents.train.ids)
    assert ([[[2, 1], [4, 3]]], ("0",)) == (rows(contents.test), contents.test.ids)
    (note,) = contents.notes
    assert f"Columns of {tmp_path}/train{suffix} that are not used as features: note." == note


def steps(count: int = 20, **changes: Any) -> pd.DataFrame:
    """Return a table of examples of two steps, of which every fourth is of class 1 and the others of class 0."""
    ids = np.repeat(np.arange(count), 2)
    table = {"id": ids, "time": [2, 1] * count, "label": (ids % 4 == 3).astype(int), "x": np.arange(2.0 * count)}
    return pd.DataFrame(table | changes)


def test_without_a_test_part_a_fifth_of_the_ids_is_held_out(tmp_path: Path) -> None:
    steps().rename(columns={"id": "who", "time": "when", "label": "what"}).to_parquet(tmp_path / "a.parquet")
    columns = "id=who, time=when, label=what"
    contents = formats.read(tmp_path / "a.parquet", columns=columns)
    assert (16, 4) == (len(contents.train.ids), len(contents.test.ids))
    assert [3, 1] == np.bincount(contents.test.labels).tolist()
    assert {str(number) for number in range(20)} == {*contents.train.ids, *contents.test.ids}
    example = int(contents.test.ids[0])
    assert [[2.0 * example + 1], [2.0 * example]] == rows(contents.test)[0]
    assert contents.test.ids == formats.read(tmp_path / "a.parquet", columns=columns).test.ids
    (note,) = contents.notes
    assert (
        "has no test part: a fifth of the examples (4 of 20) is held out as the test part, drawn with a fixed seed"
        in note
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"label": [0, 1] * 20}, "id 0: expected one label, received 0 and 1"),
        ({"label": ["a", *[None] * 39]}, "row 2: expected a value in column 'label', received none"),
        ({"time": [1, NAN] * 20}, "row 2: expected a value in column 'time'"),
        ({"x": ["1", "2", "oops", *["3"] * 37]}, "row 3: expected a number in column 'x', received 'oops'"),
        ({"x": ["a"] * 40}, "expected columns of numbers, received id, time, label, x"),
        ({"x": [1, 2, 3, NAN] * 10}, "example 1: .* each of its 2 steps, received nan for x at step 0"),
        ({"x": [1, NAN, 3, 4] * 10, "time": [1, 2] * 20, "z": 1.0}, "example 0: .* received nan for x at step 1"),
        ({"x": [NAN, NAN, 1, 2] * 10}, "example 0: .* each of its 0 steps"),
        ({"label": [0] * 38 + [1] * 2}, "at least 2 examples of each class, .* received 1 of class '1'"),
        ({"label": 7}, "expected at least 2 classes, received only the label '7'"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_that_cannot_be_trained_on_are_refused(
    tmp_path: Path, suffix: str, changes: Any, complaint: str
) -> None:
    path = tmp_path / f"table.{suffix}"
    getattr(steps(**changes), f"to_{suffix}")(path, index=False)
    with pytest.raises(DataError, match=f"{path}.*{complaint}"):
        formats.read(path)


def test_types_of_numbers_in_a_parquet_file(tmp_path: Path) -> None:
    """Whole numbers that may be missing, decimals, truth values and dates."""
    table = steps(
        whole=pd.array([1, 2] * 20, "Int64"), fixed=[Decimal("1.5")] * 40, flag=[True, False] * 20, day=pd.Timestamp(0)
    )
    table.to_parquet(tmp_path / "a.parquet")
    contents = formats.read(tmp_path / "a.parquet")
    assert ("x", "whole", "fixed", "flag") == contents.features
    assert [[1, 2, 1.5, 0], [0, 1, 1.5, 1]] == rows(contents.train)[0]
    assert re.search(r"not used as features: day\..*part: fixed\.", " ".join(contents.notes))


def test_row_numbers_that_pandas_writes_are_no_feature(tmp_path: Path) -> None:
    steps().to_csv(tmp_path / "a.csv")
    assert ("x",) == formats.read(tmp_path / "a.csv").features


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"id,label,x\n1,a,2\n1,a,2,3,4\n", "a.csv: expected a whole Parquet or CSV file, received: .*line 3"),
        (b"id,label,x\n", "a.csv: expected .*"),
        (b"PAR1" + bytes(20), "a.csv: expected a whole Parquet or CSV file"),
        (b"id,class,x\n1,a,2\n", "expected the columns id, label, received id, class, x. Other names can be given as"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        formats.read(tmp_path / "a.csv")


def test_tables_of_both_parts_have_the_same_features(tmp_path: Path) -> None:
    steps().to_csv(tmp_path / "train.csv")
    steps(z=1).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test.parquet: expected the features x of the training part, received x, z"):
        formats.read(tmp_path)


@pytest.mark.parametrize("names", [["train.csv", "train.parquet"], ["test.csv"]])
def test_a_folder_has_one_table_for_training(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text(CSV)
    with pytest.raises(DataError, match=f"expected one table train.csv or train.parquet.* received {', '.join(names)}"):
        formats.recognise(tmp_path)


@pytest.mark.parametrize("columns", ["id", "id=", "name=x", "id=a,,label=b"])
def test_columns_are_given_by_role(tmp_path: Path, columns: str) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(UsageError, match=f"^columns: expected a list such as .* received '{columns}'"):
        formats.read(tmp_path / "a.csv", columns=columns)


# --- folders of images ----------------------------------------------------------------------------------------------


def test_images_in_a_folder_for_each_class(tmp_path: Path) -> None:
    write_images(tmp_path / "train", cat=[grey(1)], dog=[np.full((2, 3, 3), (255, 0, 0), np.uint8)])
    write_images(tmp_path / "test", cat=[np.full((2, 3), 7 * 257, np.uint16)], dog=[])
    (tmp_path / "test" / "cat" / "Thumbs.db").write_bytes(b"no image")
    assert "images" == formats.recognise(tmp_path).kind  # type: ignore[union-attr]
    contents = formats.read(tmp_path)
    # Luma of red by ITU-R BT.601: 0.299 · 255 = 76.
    assert [[[1] * 3] * 2, [[76] * 3] * 2] == contents.train.examples.tolist()
    assert ("uint8", [0, 1], ("cat", "dog"), ()) == (
        contents.train.examples.dtype.name,
        contents.train.labels.tolist(),
        contents.class_names,
        contents.features,
    )
    assert (("train/cat/0.png", "train/dog/0.png"), ("test/cat/0.png",)) == (contents.train.ids, contents.test.ids)


def test_images_without_a_test_part_and_of_several_sizes(tmp_path: Path) -> None:
    write_images(tmp_path, a=[grey(9, 4, 4)] * 5, b=[grey(200, 8, 6)] * 5)
    with pytest.raises(
        DataError, match=r"b/0.png: expected 4 × 4 pixels as in .*a/0.png, received 8 × 6. Give image_s"
    ):
        formats.read(tmp_path)
    contents = formats.read(tmp_path, image_size=5)
    assert ((8, 5, 5), [1, 1]) == (contents.train.examples.shape, np.bincount(contents.test.labels).tolist())
    assert {9, 200} == {*contents.train.examples.ravel()}


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: b"GIF89a"])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 20)).astype(np.uint8)
    path = write_images(tmp_path, a=[noise] * 2, b=[noise] * 2) / "b" / "1.png"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"^{path}: expected a PNG or JPEG image, received one that cannot be read"):
        formats.read(tmp_path)


# --- recognition ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08\x03", b"no commas here"])
def test_another_file_is_refused_with_the_formats_that_there_are(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(
        DataError, match=r"^source: expected a NumPy file .* received the file .*, which has none of these formats"
    ):
        formats.recognise(tmp_path / "file")


def test_a_truncated_numpy_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"my data.npz: expected the arrays"):
        formats.recognise(path)


def test_a_folder_of_anything_else_may_hold_idx_files(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03")
    assert (None, None, []) == (
        formats.recognise(tmp_path),
        formats.recognise(tmp_path / "missing"),
        formats.files_of(tmp_path),
    )


def test_options_for_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^columns: expected a source of tables, received arrays"):
        formats.read(saved(tmp_path), columns="id=a")
    with pytest.raises(UsageError, match=r"^image_size: expected a source of pictures, received arrays"):
        formats.read(saved(tmp_path), image_size=28)


def test_recognition_imports_no_costly_library() -> None:
    code = (
        "import sys; from pipeline.data import formats; print({'pandas', 'pyarrow', 'sklearn', 'PIL'} & {*sys.modules})"
    )
    assert "set()\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
