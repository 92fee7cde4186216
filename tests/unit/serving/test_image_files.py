"""Pictures and Parquet files of images, read in parts or refused."""

import io
import itertools
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from pipeline.data.datasets import encode_idx, read_idx
from pipeline.errors import DataError
from pipeline.kinds.images import Images
from pipeline.serving import digit_segmentation, readers
from pipeline.serving.readers import ImageFiles

Pixels = NDArray[np.uint8]

IMAGES = np.arange(7 * 6).reshape(7, 2, 3)  # seven of 2 × 3 pixels
FORM = Images(height=2, width=3)


def write(path: Path, kind: pa.DataType, rows: list[Any], **others: Any) -> Path:
    pq.write_table(pa.table({"pixels": pa.array(rows, kind), **others}), path, row_group_size=4)
    return path


def rows_of(path: Path, column: str | None = None, size: int = 3) -> list[tuple[Any, pa.Table]]:
    """Return the parts of a Parquet file, of three rows at most."""
    reader = ImageFiles(FORM, column)
    reader.size = size
    return list(reader.parts(path, "a.parquet"))


def refused(path: Path, column: str | None = None) -> str:
    with pytest.raises(DataError) as raised:
        rows_of(path, column)
    return str(raised.value)


FLAT = [image.ravel().tolist() for image in IMAGES]


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (pa.list_(pa.uint8()), FLAT),
        (pa.list_(pa.uint8(), 6), FLAT),
        (pa.large_list(pa.int64()), FLAT),
        (pa.list_(pa.float32(), 6), (IMAGES.reshape(7, 6) + 0.5).tolist()),
        (pa.list_(pa.list_(pa.int16())), IMAGES.tolist()),
        (pa.list_(pa.list_(pa.float64(), 3), 2), IMAGES.tolist()),
    ],
    ids=str,
)
def test_lists_of_any_kind_are_read_in_parts_and_not_rounded(
    tmp_path: Path, kind: pa.DataType, rows: list[Any]
) -> None:
    path = write(tmp_path / "a.parquet", kind, rows, id=list("abcdefg"))

    parts = rows_of(path)

    assert [3, 3, 1] == [len(pixels) for pixels, _ in parts]
    np.testing.assert_array_equal(np.reshape(rows, IMAGES.shape), np.concatenate([pixels for pixels, _ in parts]))
    assert pa.table({"id": list("abcdefg")}) == pa.concat_tables([others for _, others in parts])


def test_the_images_of_a_numpy_file_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=IMAGES.astype(np.uint8), y_test=np.zeros(7))
    np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in rows_of(tmp_path / "a.npz")]))
    np.savez(tmp_path / "a.npz", x=IMAGES[:, 1:].astype(np.uint8))
    assert "pixels: must be numbers from 0 to 255 of the shape (N, 2, 3); got uint8 of the shape (3, 1, 3)." == refused(
        tmp_path / "a.npz"
    )


def test_the_endings_of_names_may_have_capitals(tmp_path: Path) -> None:
    (tmp_path / "A.IDX").write_bytes(encode_idx(IMAGES.astype(np.uint8)))
    for path in (tmp_path / "A.IDX", write(tmp_path / "A.PARQUET", pa.list_(pa.uint8()), FLAT)):
        np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in rows_of(path)]))


def test_pictures_as_hugging_face_stores_them_are_read(tmp_path: Path) -> None:
    rows = [{"bytes": saved(Image.fromarray(image)), "path": None} for image in IMAGES.astype(np.uint8)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = write(tmp_path / "a.parquet", kind, rows, label=list(range(7)))

    parts = rows_of(path)

    np.testing.assert_array_equal(IMAGES, np.concatenate([pixels for pixels, _ in parts]))
    assert ["label"] == parts[0][1].column_names
    path = write(path, kind, [{"bytes": None, "path": "a.png"}])
    assert "column pixels, row 0: must be a picture such as a PNG or JPEG file" in refused(path)


def test_a_row_group_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 60_000 * 100).astype(np.float32)
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(noise), 100)
    pq.write_table(pa.table({"pixels": pixels}), tmp_path / "a.parquet", compression="none", use_dictionary=False)
    before, rows, most = pa.total_allocated_bytes(), 0, 0
    for images, _ in ImageFiles(Images(height=10, width=10)).parts(tmp_path / "a.parquet", "a"):
        rows, most = rows + len(images), max(most, pa.total_allocated_bytes() - before)

    assert 1 == pq.ParquetFile(tmp_path / "a.parquet").num_row_groups
    assert 60_000 == rows
    assert most < (tmp_path / "a.parquet").stat().st_size / 2


def test_the_column_of_pixels_must_be_chosen_among_several(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.list_(pa.uint8()), FLAT, box=[[1, 2]] * 7)

    assert refused(path).endswith("box (list<element: int64>). Choose one with --column, or see docs/predict.md.")
    assert ["box"] == rows_of(path, "pixels")[0][1].column_names
    assert "needs a column 'image' of pixels, as lists; its columns are pixels (" in refused(path, "image")


@pytest.mark.parametrize(
    ("kind", "bad", "said"),
    [
        (pa.list_(pa.uint8()), [1, 2, 3, 4, 5], "got a list of 5 instead of 6."),
        (pa.list_(pa.uint8()), [1] * 7, "got a list of 7 instead of 6."),
        (pa.list_(pa.uint8()), None, "got a list of 0 instead of 6."),
        (pa.list_(pa.uint8()), [1, 2, None, 4, 5, 6], "got nan."),
        (pa.list_(pa.int16()), [1, 2, 3, 4, 5, 256], "got 256."),
        (pa.list_(pa.int8()), [1, 2, -3, 4, 5, 6], "got -3."),
        (pa.list_(pa.float32()), [1, 2, float("nan"), 4, 5, 6], "got nan."),
        (pa.list_(pa.list_(pa.uint8())), [[1, 2, 3]], "got a list of 1 instead of 2."),
        (pa.list_(pa.list_(pa.uint8())), [[1, 2, 3], [4, 5]], "got a list of 2 instead of 3."),
        (pa.list_(pa.list_(pa.uint8())), [[1, 2, 3], None], "got a list of 0 instead of 3."),
        (pa.list_(pa.list_(pa.uint8())), [[1, 2, 3], [4, None, 6]], "got nan."),
    ],
)
def test_a_row_that_is_not_an_image_is_named(tmp_path: Path, kind: pa.DataType, bad: Any, said: str) -> None:
    good = (IMAGES.tolist() if pa.types.is_nested(kind.value_type) else FLAT)[:5]
    path = write(tmp_path / "a.parquet", kind, [*good, bad, good[0]])
    assert f"a.parquet: column pixels, row 5: needs 2 × 3 = 6 numbers from 0 to 255; {said}" == refused(path)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([list("abcdef")]), "pixels: must be numbers from 0 to 255 of the shape (N, 2, 3)"),
        (pa.array([bytes(6)]), "its columns are pixels (binary). Choose one with --column"),
        (pa.array([1]), "needs one column of pixels, as lists; its columns are pixels (int64)."),
    ],
)
def test_columns_without_pixels_are_refused(tmp_path: Path, column: pa.Array, said: str) -> None:
    pq.write_table(pa.table({"pixels": column}), tmp_path / "a.parquet")
    assert said in refused(tmp_path / "a.parquet")


MNIST = Images(height=28, width=28, light_on_dark=True, boxed=True)


def as_mnist(picture: Image.Image) -> Pixels:
    return pixels(picture, MNIST)


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read(content: bytes, form: Images = MNIST) -> Pixels:
    return readers.read(io.BytesIO(content), name="it", form=form)


def pixels(picture: Image.Image, form: Images, kind: str = "PNG", **options: Any) -> Pixels:
    """Return the pixels of a picture that has been saved to a file and read back."""
    return read(saved(picture, kind, **options), form)


def bar(*, ink: Any, paper: Any, mode: str = "L") -> Image.Image:
    """Return a page of 300 × 200 with a bar, 100 high and 40 wide, near its upper left corner."""
    page = Image.new(mode, (300, 200), paper)
    page.paste(ink, (30, 20, 70, 120))
    return page


def with_clear_corner(page: Image.Image) -> Image.Image:
    """Return a page whose lower right corner is transparent."""
    page.paste((0, 0, 0, 0), (260, 160, 300, 200))
    return page


BAR = np.zeros((28, 28), np.uint8)
BAR[4:24, 10:18] = 255  # 20 high, 8 wide; its centre as near to pixel 14 as whole pixels allow


@pytest.mark.parametrize(
    "picture",
    [
        bar(ink=0, paper=255),
        bar(ink=255, paper=0),
        bar(ink=30, paper=120),
        bar(ink="navy", paper="khaki", mode="RGB"),
        bar(ink="khaki", paper="navy", mode="RGB"),
        bar(ink="navy", paper="khaki", mode="RGB").quantize(2),
        bar(ink=0, paper=1, mode="1"),
        bar(ink=0, paper=65_535, mode="I;16"),
        bar(ink=(0, 0, 0, 255), paper=(0, 0, 0, 0), mode="RGBA"),
        bar(ink=(255, 255, 255, 255), paper=(0, 0, 0, 0), mode="RGBA"),
        bar(ink=(255, 255, 255, 255), paper=(255, 255, 255, 0), mode="RGBA"),
        bar(ink=(0, 255), paper=(0, 0), mode="LA"),
        with_clear_corner(bar(ink=(0, 0, 0, 255), paper=(255, 255, 255, 255), mode="RGBA")),
    ],
    ids=lambda picture: f"{picture.mode}, {picture.getpixel((50, 50))} on {picture.getpixel((0, 0))}",
)
def test_a_digit_of_any_colours_gets_mnists_box_and_centre(picture: Image.Image) -> None:
    np.testing.assert_array_equal(BAR, as_mnist(picture))


def test_every_published_image_passes_unchanged(mnist_folder: Path) -> None:
    content = (mnist_folder / "t10k-images-idx3-ubyte.gz").read_bytes()
    for image in read_idx(content, name="images", kind="images"):
        fitted = digit_segmentation.fit(image.astype(np.float32), MNIST)
        np.testing.assert_array_equal(image, fitted)


def test_pictures_for_other_data_are_only_resized() -> None:
    page = Image.new("L", (400, 100), 200)
    page.paste(40, (0, 0, 200, 100))

    result = pixels(page, Images(height=2, width=8)).tolist()

    assert [[40, 200]] * 2 == [[row[0], row[-1]] for row in result]


EXIF = Image.Exif()
EXIF[0x0112] = 6  # orientation: the first row is the right side


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (np.array([[0, 25_700], [51_400, 65_535]], np.uint16), {}, [[0, 100], [200, 255]]),
        (np.array([[255, 0], [0, 0]], np.uint8), {"exif": EXIF}, [[0, 255], [0, 0]]),
        (
            np.array([[255, 0], [0, 0]], np.uint8),
            {"exif": b"Exif\0\0MM"},
            [[255, 0], [0, 0]],
        ),  # damaged
    ],
)
def test_16_bit_pictures_are_scaled_and_rotated_ones_turned_upright(
    values: Any, options: dict[str, Any], expected: list[list[int]]
) -> None:
    assert expected == pixels(Image.fromarray(values), Images(height=2, width=2), **options).tolist()


HEIC = bytes.fromhex("00000024") + b"ftypheic" + bytes(100)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n"
UNREAD = (
    "it: must be a picture such as a PNG or JPEG file; it is not one, or has a format that is not read, such as HEIC"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", UNREAD),
        (b"hello", UNREAD),
        (HEIC, UNREAD),
        (EPS, UNREAD),
        (
            saved(bar(ink=0, paper=255))[:-60],
            "it: must be a whole picture of at most 67,108,864 pixels; reading failed: ",
        ),
    ],
)
def test_a_file_that_is_not_a_picture_is_refused_by_name(
    content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(DataError, match=re.escape(said)):
        read(content)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    header = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452 00002328 00002328 08 00 00 00 00")
    huge = header + zlib.crc32(header[12:]).to_bytes(4, "big") + bytes.fromhex("00000000 49444154")
    with pytest.raises(DataError, match=r"at most 67,108,864 pixels; .* \(81000000 pixels\) exceeds limit"):
        read(huge)


def stroke(width: float, length: float, angle: float, at: float) -> Image.Image:
    """Return a straight stroke, white on black."""
    page = Image.new("L", (280, 280))
    along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    middle = np.array([140.0, at]) if abs(along[0]) > abs(along[1]) else np.array([at, 140.0])
    ends = [tuple(middle + end) for end in (along, -along)]
    ImageDraw.Draw(page).line(ends, fill=255, width=round(width))
    return page


def is_stroke(image: Pixels, angle: float) -> bool:
    """Return whether the ink of an image (28, 28) is as long as MNIST's box and points into a direction."""
    rows, columns = np.nonzero(image > 64)
    spread = np.linalg.eigh(np.cov(columns, rows))
    direction = np.arctan2(*spread.eigenvectors[::-1, 1])
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    return bool(longest >= 18 and abs(np.sin(direction - angle)) < 0.2)


STROKES = [
    *itertools.product(range(8, 41, 8), (60, 150, 240), (0, np.pi / 2), (90, 140)),
    *itertools.product((8, 18, 29), (60, 100, 150, 200), np.arange(1, 16, 2) * np.pi / 16, (140,)),
]
"""Width, length, angle and position of level and upright strokes, and of slanted ones."""


@pytest.mark.parametrize("dark", [False, True])
def test_a_stroke_never_becomes_a_blank_or_turned_image(dark: bool) -> None:
    """A sheet of paper or a ruled line, which a stroke may be mistaken for, becomes blank."""
    for width, length, angle, at in STROKES:
        page = stroke(width, length, angle, at)
        assert is_stroke(as_mnist(ImageOps.invert(page) if dark else page), angle), (width, length, angle, at)


NOISE = np.random.default_rng(2).normal(200, 12, (300, 200)).clip(0, 255).astype(np.uint8)
SIZES = [(28, 28), (100, 60), (1, 1), (1, 300), (5_000, 3)]


@pytest.mark.parametrize(
    "page",
    [
        *(Image.new("L", size, paper) for size in SIZES for paper in (0, 100, 255)),
        Image.new("RGBA", (50, 50), (9, 9, 9, 0)),
        Image.fromarray(NOISE),
    ],
)
def test_a_page_without_a_digit_is_black(page: Image.Image) -> None:
    np.testing.assert_array_equal(np.zeros((28, 28), np.uint8), as_mnist(page))


SQUARE = np.full((8, 8), 255, np.uint8)
SQUARE[2:5, 2:5] = 0


@pytest.mark.parametrize(
    ("form", "pictures", "expected"),
    [
        (
            Images(height=28, width=28, light_on_dark=False, boxed=True),
            (bar(ink=0, paper=255), bar(ink=255, paper=0), Image.fromarray(BAR), Image.fromarray(255 - BAR)),
            255 - BAR,
        ),
        (
            Images(height=8, width=8, light_on_dark=True),
            (Image.fromarray(SQUARE), Image.fromarray(255 - SQUARE)),
            255 - SQUARE,
        ),
    ],
)
def test_pictures_become_as_light_or_dark_as_the_data(
    form: Images, pictures: tuple[Image.Image, ...], expected: Pixels
) -> None:
    for picture in pictures:
        np.testing.assert_array_equal(expected, pixels(picture, form))


SMALL = Images(height=4, width=4)


def shades(*values: int) -> list[Image.Image]:
    return [Image.new("L", (4, 4), value) for value in values]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("GIF", [10, 90, 200]), ("TIFF", [10, 90, 200]), ("PNG", [10, 90, 200]), ("MPO", [10])],
)
def test_every_page_of_a_file_is_read(kind: str, expected: list[int]) -> None:
    first, *more = shades(10, 90, 200)
    file = io.BytesIO(saved(first, kind, save_all=True, append_images=more))
    assert expected == [int(page[0, 0]) for page in readers.pages(file, name="it", form=SMALL)]
