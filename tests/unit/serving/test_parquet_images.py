"""Parquet files of images, written by Arrow and read again: as lists of any kind, in parts, and what is refused."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import DataError
from pipeline.kinds.images import Images
from pipeline.serving import parquet_images

IMAGES = np.arange(7 * 6).reshape(7, 2, 3)  # seven of 2 × 3 pixels
FORM = Images(height=2, width=3)


def write(path: Path, kind: pa.DataType, rows: list[Any], **others: Any) -> Path:
    pq.write_table(pa.table({"pixels": pa.array(rows, kind), **others}), path, row_group_size=4)
    return path


def read(path: Path, column: str | None = None, rows: int = 3) -> list[tuple[Any, pa.Table]]:
    return list(parquet_images.stream(path, name="a.parquet", column=column, form=FORM, rows=rows))


def refused(path: Path, column: str | None = None) -> str:
    with pytest.raises(DataError) as raised:
        read(path, column)
    return str(raised.value)


FLAT = [image.ravel().tolist() for image in IMAGES]


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (pa.list_(pa.uint8()), FLAT),
        (pa.list_(pa.uint8(), 6), FLAT),
        (pa.large_list(pa.int64()), FLAT),
        (pa.list_(pa.float32(), 6), FLAT),
        (pa.list_(pa.list_(pa.int16())), IMAGES.tolist()),
        (pa.list_(pa.list_(pa.float64(), 3), 2), IMAGES.tolist()),
    ],
    ids=str,
)
def test_lists_of_any_kind_are_read_in_parts(tmp_path: Path, kind: pa.DataType, rows: list[Any]) -> None:
    path = write(tmp_path / "a.parquet", kind, rows, id=list("abcdefg"))

    parts = read(path)

    assert [3, 1, 3] == [len(pixels) for pixels, _ in parts]  # row groups of four rows and of three
    np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in parts]))
    assert pa.table({"id": list("abcdefg")}) == pa.concat_tables([others for _, others in parts])


def test_a_column_of_tensors_is_read(tmp_path: Path) -> None:
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES.astype(np.uint8))
    pq.write_table(pa.table({"pixels": array}), tmp_path / "a.parquet")

    np.testing.assert_array_equal(IMAGES, read(tmp_path / "a.parquet", rows=10)[0][0])


def test_a_transposed_tensor_is_turned_back(tmp_path: Path) -> None:
    """As EMNIST's images are written upright: Arrow keeps the pixels in place and notes the permutation."""
    turned = np.ascontiguousarray(IMAGES.astype(np.uint8).transpose(0, 2, 1))
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(turned.transpose(0, 2, 1))
    assert [1, 0] == array.type.permutation
    pq.write_table(pa.table({"pixels": array}), tmp_path / "a.parquet")

    np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in read(tmp_path / "a.parquet")]))


def test_a_tensor_of_another_shape_is_refused_though_its_numbers_are_as_many(tmp_path: Path) -> None:
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES.astype(np.uint8).reshape(7, 3, 2))
    pq.write_table(pa.table({"pixels": array}), tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet").endswith("expected 2 × 3 = 6 numbers from 0 to 255, received 3 × 2 numbers.")


@pytest.mark.parametrize(
    "names", [[f"pixel{each}" for each in range(6)], list("012345"), ["1x1", "1x2", "1x3", "2x1", "2x2", "2x3"]]
)
def test_a_column_for_each_pixel_is_read(tmp_path: Path, names: list[str]) -> None:
    columns = {name: IMAGES.reshape(7, 6)[:, number] for number, name in enumerate(names)}
    pq.write_table(pa.table({"label": range(7), **columns, "weight": [0.5] * 7}), tmp_path / "a.parquet")

    parts = read(tmp_path / "a.parquet")

    np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in parts]))
    assert ["label", "weight"] == parts[0][1].column_names


def test_pictures_as_hugging_face_stores_them_are_read(tmp_path: Path) -> None:
    rows = []
    for image in IMAGES.astype(np.uint8):
        file = BytesIO()
        Image.fromarray(image).save(file, "png")
        rows.append({"bytes": file.getvalue(), "path": None})
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = write(tmp_path / "a.parquet", kind, rows, label=list(range(7)))

    parts = read(path)

    np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in parts]))
    assert ["label"] == parts[0][1].column_names
    path = write(path, kind, [{"bytes": None, "path": "a.png"}])
    assert "column pixels, row 0: expected the bytes of a picture file, received none. Embed" in refused(path)


def test_bytes_are_refused_with_a_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.binary(), [bytes(6)])
    assert "Write pixels as lists of numbers, and picture files as struct<bytes, path>" in refused(path)


def test_numbers_stay_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.float32()), [[0.5, 254.75, 0, 1, 2, 255]])
    assert [[[0.5, 254.75, 0], [1, 2, 255]]] == read(path)[0][0].tolist()


def test_what_goes_along_bounds_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_images, "IN_MEMORY", 5_000)
    path = write(tmp_path / "a.parquet", pa.list_(pa.uint8()), FLAT, blob=[bytes([each]) * 1_000 for each in range(7)])
    sizes = [len(pixels) for pixels, _ in read(path, rows=7)]
    assert 7 == sum(sizes)
    assert max(sizes) < 4  # the rows of a row group


def test_a_row_group_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 60_000 * 100).astype(np.float32)
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(noise), 100)
    pq.write_table(pa.table({"pixels": pixels}), tmp_path / "a.parquet", compression="none", use_dictionary=False)
    code = (
        "import sys; from pathlib import Path; import pyarrow as pa; from pipeline.kinds.images import Images; "
        "from pipeline.serving import parquet_images; parquet_images.IN_MEMORY = 2**20; "
        "n = sum(len(each[0]) for each in parquet_images.stream(Path(sys.argv[1]), name='a', column=None, "
        "form=Images(height=10, width=10), rows=60_000)); print(n, pa.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.parquet")]
    rows, most = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    assert 1 == pq.ParquetFile(tmp_path / "a.parquet").num_row_groups
    assert 60_000 == rows
    assert most < (tmp_path / "a.parquet").stat().st_size / 2


def test_the_column_of_several_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.uint8()), FLAT, box=[[1, 2]] * 7)

    assert refused(path).endswith("Choose one of them: --column pixels.")
    assert ["box"] == read(path, "pixels")[0][1].column_names
    assert "expected a column 'image' of lists of numbers, the pixels, received the columns pixels (" in refused(
        path, "image"
    )


def test_categories_go_along_as_what_they_stand_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.uint8()), FLAT[:2], sort=pa.array(["x", "y"]).dictionary_encode())
    assert pa.table({"sort": ["x", "y"]}) == read(path)[0][1]
    assert pa.schema({"sort": pa.string()}) == parquet_images.other_columns(path, name="a", column=None, form=FORM)


@pytest.mark.parametrize(
    ("kind", "bad", "said"),
    [
        (pa.list_(pa.uint8()), [1, 2, 3, 4, 5], "received 5 numbers."),
        (pa.list_(pa.uint8()), [1] * 7, "received 7 numbers."),
        (pa.list_(pa.uint8()), [], "received 0 numbers."),
        (pa.list_(pa.uint8()), None, "received 0 numbers."),
        (pa.list_(pa.uint8()), [1, 2, None, 4, 5, 6], "received nan."),
        (pa.list_(pa.int16()), [1, 2, 3, 4, 5, 256], "received 256."),
        (pa.list_(pa.int8()), [1, 2, -3, 4, 5, 6], "received -3."),
        (pa.list_(pa.float32()), [1, 2, float("nan"), 4, 5, 6], "received nan."),
        (pa.list_(pa.float64()), [1, 2, 3, 4, 5, float("inf")], "received inf."),
    ],
)
def test_a_row_that_is_no_image_is_named(tmp_path: Path, kind: pa.DataType, bad: Any, said: str) -> None:
    path = write(tmp_path / "a.parquet", kind, [*FLAT[:5], bad, FLAT[6]])
    expected = "a.parquet: column pixels, row 5: expected 2 × 3 = 6 numbers from 0 to 255, "
    assert expected + said == refused(path)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([[1, 2, 3]], "received 1 × 3 numbers."),
        ([[1, 2, 3], [4, 5]], "received lists of unequal lengths."),
        ([[1, 2, 3], None], "received lists of unequal lengths."),
        ([[1, 2, 3], [4, None, 6]], "received nan."),
    ],
)
def test_a_row_of_lists_that_is_no_image_is_named(tmp_path: Path, bad: Any, said: str) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.list_(pa.uint8())), [*IMAGES.tolist()[:5], bad])
    message = refused(path)
    assert ", row 5: " in message
    assert message.endswith(said)


def test_a_row_without_a_list_of_fixed_size_is_refused_as_arrow_does_not_read_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.uint8(), 6), [*FLAT[:5], None])
    assert "a.parquet: expected a Parquet file, received one that does not read (Expected all lists" in refused(path)


@pytest.mark.parametrize("table", [{"id": [1]}, {"text": ["a"]}, {"lists": [["a"]]}, {"deep": [[[[1]]]]}])
def test_without_a_column_of_pixels_is_said_what_there_is(tmp_path: Path, table: dict[str, Any]) -> None:
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    name = next(iter(table))
    assert f"received the columns {name} (" in refused(tmp_path / "a.parquet")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.uint8()), FLAT)
    content = path.read_bytes()
    for damaged in (content[:-9], content[:4] + b"\xff" * 40 + content[44:], b"PAR1", b"PAR1" * 3):
        path.write_bytes(damaged)
        assert parquet_images.is_parquet(path)
        assert refused(path).startswith("a.parquet: expected a Parquet file, received one that does not read (")
    assert {} == parquet_images.metadata(path)
