import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from pipeline.data import idx
from pipeline.errors import DataError
from pipeline.kinds.images import Images
from pipeline.serving import digit_segmentation, pictures

Pixels = NDArray[np.uint8]


MNIST = Images(height=28, width=28, light_on_dark=True, boxed=True)


def as_mnist(picture: Image.Image) -> Pixels:
    return pixels(picture, MNIST)


def pixels(picture: Image.Image, form: Images, **saved: Any) -> Pixels:
    """Return the pixels of a picture that has been saved to a file and read back."""
    file = io.BytesIO()
    picture.save(file, **({"format": "PNG"} | saved))
    return pictures.read(file, name="it", form=form)


def bar(*, ink: Any, paper: Any, mode: str = "L") -> Image.Image:
    """Return a page of 300 × 200 with a bar, 100 high and 40 wide, near its upper left corner."""
    page = Image.new(mode, (300, 200), paper)
    page.paste(ink, (30, 20, 70, 120))
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
    ],
    ids=lambda picture: f"{picture.mode}, {picture.getpixel((50, 50))} on {picture.getpixel((0, 0))}",
)
def test_a_digit_of_any_colours_gets_mnists_box_and_centre(picture: Image.Image) -> None:
    np.testing.assert_array_equal(BAR, as_mnist(picture))


def test_the_centre_is_that_of_mass_not_of_the_box() -> None:
    page = bar(ink=0, paper=255)
    page.paste(0, (30, 20, 130, 40))  # a bar on top, to the right: Γ

    rows, columns = np.indices((28, 28))
    result = as_mnist(page)

    for index in (rows, columns):
        assert abs(np.average(index, weights=result) - 14) <= 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5_000, 3)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    assert (28, 28) == as_mnist(Image.new("L", size, 255)).shape


def test_every_published_image_passes_unchanged(mnist_folder: Path) -> None:
    content = gzip.decompress((mnist_folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    for image in idx.read(content, name="images"):
        fitted = digit_segmentation.fit(image.astype(np.float32), MNIST)
        np.testing.assert_array_equal(image, fitted)


def test_pictures_for_other_data_are_resized_only() -> None:
    page = Image.new("L", (400, 100), 200)
    page.paste(40, (0, 0, 200, 100))

    result = pixels(page, Images(height=2, width=8)).tolist()

    assert [[40, 200]] * 2 == [[row[0], row[-1]] for row in result]


def test_a_16_bit_picture_is_scaled_not_cut_off() -> None:
    values = np.array([[0, 257 * 100], [257 * 200, 65_535]], np.uint16)

    assert [[0, 100], [200, 255]] == pixels(Image.fromarray(values), Images(height=2, width=2)).tolist()


def test_a_picture_is_turned_as_its_camera_was_held() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: its first row is the right side
    page = Image.fromarray(np.array([[255, 0], [0, 0]], np.uint8))

    assert [[0, 255], [0, 0]] == pixels(page, Images(height=2, width=2), exif=exif).tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "a file that is not a picture"), (b"hello", "a file that is not"), (None, "a damaged one")],
)
def test_what_is_no_picture_is_refused_by_name(content: bytes | None, said: str) -> None:
    whole = io.BytesIO()
    bar(ink=0, paper=255).save(whole, "PNG")
    file = io.BytesIO(whole.getvalue()[:-60] if content is None else content)

    with pytest.raises(DataError, match=f"it: expected a picture .* received {said}"):
        pictures.read(file, name="it", form=MNIST)


def read(content: bytes) -> Pixels:
    return pictures.read(io.BytesIO(content), name="it", form=MNIST)


def test_a_format_that_pillow_hands_to_another_program_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n"
    with pytest.raises(DataError, match="it: expected a picture such as a PNG or JPEG file, received a file that"):
        read(eps)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    huge = io.BytesIO()
    header = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452 00002328 00002328 08 00 00 00 00".replace(" ", ""))
    huge.write(header + zlib.crc32(header[12:]).to_bytes(4, "big"))
    huge.write(bytes.fromhex("00000000 49444154".replace(" ", "")))
    with pytest.raises(DataError, match="it: expected at most 67,108,864 pixels, received 9,000 × 9,000"):
        read(huge.getvalue())


@pytest.mark.parametrize("error", [RuntimeError("codec"), NotImplementedError("BLP"), KeyError("tag"), IndexError()])
def test_whatever_a_decoder_raises_names_the_picture(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    file = io.BytesIO()
    bar(ink=0, paper=255).save(file, "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
    with pytest.raises(DataError, match="it: expected a picture such as a PNG or JPEG file, received a damaged one"):
        read(file.getvalue())


def stroke(*, width: float, length: float, angle: float, at: float = 140, side: int = 280) -> Image.Image:
    """Return a straight stroke with round ends, white on black: a line, and a circle at each end."""
    page, scale = Image.new("L", (side, side)), side / 280
    along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    # The middle is on a diagonal, unless the stroke is upright or level.
    middle = np.array([140.0, at]) if abs(along[0]) > abs(along[1]) else np.array([at, 140.0])
    ends = [tuple((middle + end) * scale) for end in (along, -along)]
    ImageDraw.Draw(page).line(ends, fill=255, width=round(width * scale))
    for x, y in ends:
        ImageDraw.Draw(page).circle((x, y), width * scale / 2, fill=255)
    return page


def is_stroke(image: Pixels, angle: float) -> bool:
    """Return whether the ink of an image (28, 28) is as long as MNIST's box and points into a direction."""
    rows, columns = np.nonzero(image > 64)
    if not len(rows):
        return False
    spread = np.linalg.eigh(np.cov(columns, rows))
    direction = np.arctan2(*spread.eigenvectors[::-1, 1])
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    return bool(longest >= 18 and abs(np.sin(direction - angle)) < 0.2)


@pytest.mark.parametrize("at", [90, 140])
@pytest.mark.parametrize("angle", [0, np.pi / 2], ids=["level", "upright"])
def test_a_straight_stroke_never_becomes_a_blank_image(angle: float, at: float) -> None:
    """Until they were told from sheets of paper and from ruled lines, 104 of these 340 did."""
    lost = [
        (width, length)
        for width in range(8, 41, 2)
        for length in (60, 105, 150, 195, 240)
        if not is_stroke(as_mnist(stroke(width=width, length=length, angle=angle, at=at)), angle)
    ]

    assert [] == lost


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("side", [100, 280, 560])
def test_a_stroke_of_any_width_length_and_angle_is_kept(side: int, dark: bool) -> None:
    random = np.random.default_rng(side + dark)
    for _ in range(40):
        length, angle = random.uniform(60, 230), random.uniform(0, np.pi)
        width = random.uniform(8, length / 2)
        page = stroke(width=width, length=length, angle=angle, side=side)

        assert is_stroke(as_mnist(ImageOps.invert(page) if dark else page), angle), (width, length, angle)


@pytest.mark.parametrize("size", [(28, 28), (100, 60)])
@pytest.mark.parametrize("paper", [0, 100, 255])
def test_an_empty_page_is_black(size: tuple[int, int], paper: int) -> None:
    assert 0 == as_mnist(Image.new("L", size, paper)).max()


def test_noise_alone_is_no_ink() -> None:
    noise = np.random.default_rng(2).normal(200, 12, (300, 200))
    assert 0 == as_mnist(Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))).max()


def test_the_brightness_of_the_data_decides_not_that_of_the_picture() -> None:
    form = Images(height=28, width=28, light_on_dark=False, boxed=True)
    for page in (bar(ink=0, paper=255), bar(ink=255, paper=0), Image.fromarray(BAR), Image.fromarray(255 - BAR)):
        np.testing.assert_array_equal(255 - BAR, pixels(page, form))


def test_a_picture_is_turned_light_on_dark_for_data_that_is_without_a_box() -> None:
    page = Image.new("L", (8, 8), 255)
    page.paste(0, (2, 2, 5, 5))
    form = Images(height=8, width=8, light_on_dark=True)
    for picture in (page, ImageOps.invert(page)):
        np.testing.assert_array_equal(255 - np.asarray(page), pixels(picture, form))


def shades(*values: int) -> list[Image.Image]:
    return [Image.new("L", (4, 4), value) for value in values]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("GIF", [10, 90, 200]), ("TIFF", [10, 90, 200]), ("PNG", [10, 90, 200]), ("MPO", [10])],
)
def test_every_page_of_a_file_is_read(kind: str, expected: list[int]) -> None:
    first, *more = shades(10, 90, 200)
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=more)

    read = [int(page[0, 0]) for page in pictures.pages(file, name="it", form=Images(height=4, width=4))]

    assert expected == read


def test_pages_before_a_damaged_one_are_read() -> None:
    first, *more = shades(10, 90)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=more)
    last = file.getvalue().rindex(bytes([90] * 16))
    cut = io.BytesIO(file.getvalue()[:last])
    assert file.getvalue()[last + 16 :].strip(b"\0") == b""  # nothing but its pixels is gone

    read = pictures.pages(cut, name="it", form=Images(height=4, width=4))

    assert 10 == next(read)[0, 0]
    with pytest.raises(DataError, match=r"it: expected a picture .* received a damaged one"):
        next(read)


@pytest.mark.parametrize("progressive", [False, True])
def test_of_a_large_jpeg_no_more_is_decoded_than_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, *, progressive: bool
) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 600_000)
    monkeypatch.setattr(pictures, "FINEST", 300)
    file = io.BytesIO()
    bar(ink=0, paper=255).resize((1_800, 1_200)).save(file, "JPEG", progressive=progressive)

    if progressive:  # all of its scans have to be kept until the last has come
        with pytest.raises(DataError, match="it: expected at most 600,000 pixels, received 1,800 × 1,200"):
            read(file.getvalue())
    else:
        assert np.abs(read(file.getvalue()).astype(int) - BAR).mean() < 6


def test_a_file_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 100)
    bar(ink=0, paper=255).save(tmp_path / "it.png")
    content = (tmp_path / "it.png").read_bytes()
    for file in (tmp_path / "it.png", io.BytesIO(content)):
        with pytest.raises(DataError, match=f"it: expected at most 100 bytes, received {len(content):,}"):
            pictures.read(file, name="it", form=MNIST)


def test_heic_is_said_how_to_convert() -> None:
    with pytest.raises(DataError, match=r"received HEIC, which is not read. Make a JPEG of it: .*sips.*heif-convert"):
        read(bytes.fromhex("00000024") + b"ftypheic" + bytes(100))


def test_damaged_metadata_turns_nothing() -> None:
    result = pixels(bar(ink=0, paper=255), MNIST, format="JPEG", quality=100, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.abs(result.astype(int) - BAR).mean() < 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    page = np.zeros((10, 10), np.float32)
    page[3, 3] = value
    with pytest.raises(DataError, match="not all of its pixels are finite numbers"):
        pixels(Image.fromarray(page), MNIST, format="TIFF")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "I", "F"])
def test_a_large_picture_is_averaged_down_before_it_takes_more_memory(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for module in (pictures, digit_segmentation):
        monkeypatch.setattr(module, "FINEST", 300)
    page = bar(ink=0, paper=255).resize((1_200, 800), Image.Resampling.NEAREST)
    page = page.convert("I").convert(mode) if mode == "I;16" else page.convert(mode)

    assert (600, 400) == pictures.grey(page).shape[::-1]
    assert np.abs(digit_segmentation.fit(pictures.grey(page), MNIST).astype(int) - BAR).max() < 16  # of 255
