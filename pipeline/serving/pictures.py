"""From a picture, a file or a drawing, to the pixels that a model reads.

Any picture becomes grey, as it is seen: turned the way its camera held it,
what is transparent in contrast to what is not. For a model of images in
MNIST's form (``data.forms``) its digit is found (``ink``) and brought into that
form. For other models the picture is resized, and turned light on dark where
all images of the data are.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from pipeline.data import image_form
from pipeline.data.image_form import BOX, Form
from pipeline.errors import DataError
from pipeline.serving import digit_segmentation
from pipeline.serving.digit_segmentation import Grey, resized, shrunk

FINEST = 1_024
"""Pixels on the longer side that are enough to find a digit by, and to draw it by."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "ICO", "TGA")
"""What is opened: pixels, read by Pillow itself. Others (EPS) it hands to programs of their own."""

OTHER_VIEWS = ("MPO", "ICO")
"""Formats whose further pictures show the first one again: a camera's depth or light, an icon's other sizes."""

MOST_PIXELS = 2**26
"""Of a picture: above every phone's camera but the largest; it takes about eight bytes for each."""

LARGEST = 2**28  # bytes of a file

PAPER_AND_INK = 64
"""Brightness, of 255, by which what is opaque differs in itself where it is more than ink."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow refuses twice as many, and those of a picture in a picture (ICO)
warnings.filterwarnings("ignore", module=r"PIL\.")  # of a picture that is read all the same, or named in an error

Pixels = NDArray[np.uint8]


def read(file: Path | BinaryIO, *, name: str, form: Form) -> Pixels:
    """Return the pixels (H, W), 0–255, that stand for a picture file, or for the first of its pages.

    Raises:
        DataError: see :func:`pages`.
    """
    return next(pages(file, name=name, form=form))


def pages(file: Path | BinaryIO, *, name: str, form: Form) -> Iterator[Pixels]:
    """Yield the pixels (H, W), 0–255, that stand for a picture file: for each page of a TIFF, each frame of a GIF.

    Args:
        file: the picture, in one of :data:`FORMATS`.
        name: of the file, as the error shall name it.
        form: of the images that the model reads.

    Raises:
        DataError: it is no picture, it is damaged, or has too many bytes or pixels, which shows after the pages before.
    """
    for brightness in _opened(file, name):
        yield fit(brightness, form)


def _opened(file: Path | BinaryIO, name: str) -> Iterator[Grey]:
    """Yield the brightness of each page."""
    with _explained(file, name), Image.open(file, formats=FORMATS) as picture:
        _check_pixels(picture, name)
        yield grey(picture)
        if getattr(picture, "is_animated", False) and picture.format not in OTHER_VIEWS:
            for _ in _further(picture):
                _check_pixels(picture, name)
                yield grey(picture)


def _further(picture: Image.Image) -> Iterator[int]:
    """Turn to each page after the first, and yield its number."""
    for page in count(1):
        try:
            picture.seek(page)
        except EOFError:
            return
        yield page


@contextmanager
def _explained(file: Path | BinaryIO, name: str) -> Iterator[None]:
    """Turn whatever Pillow raises into an error that names the file: its decoders raise what they like."""
    expected = f"{name}: expected a picture such as a PNG or JPEG file, received"
    try:
        _check_bytes(file, name)
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        if _is_heic(file):
            raise DataError(
                f"{name}: expected a picture such as a PNG or JPEG file, received HEIC, which is not read. Make a JPEG "
                "of it: on macOS `sips -s format jpeg FILE --out FILE.jpg`, elsewhere `heif-convert FILE FILE.jpg` or "
                "`magick FILE FILE.jpg`; an iPhone takes JPEG by Settings, Camera, Formats, Most Compatible."
            ) from None
        raise DataError(f"{expected} one that is not.") from None
    except Image.DecompressionBombError:
        raise DataError(f"{name}: expected at most {MOST_PIXELS:,} pixels, received more. Make it smaller.") from None
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{expected} a damaged one ({said}).") from None


def _check_bytes(file: Path | BinaryIO, name: str) -> None:
    if isinstance(file, Path):
        size = file.stat().st_size
    else:
        size = file.seek(0, 2)
        file.seek(0)
    if size > LARGEST:
        raise DataError(f"{name}: expected at most {LARGEST:,} bytes, received {size:,}. Make it smaller.")


def _check_pixels(picture: Image.Image, name: str) -> None:
    """Check a page by its header; of a large JPEG no more is decoded than is looked at, unless it comes in scans."""
    width, height = picture.size
    picture.draft("L", (2 * FINEST, 2 * FINEST))
    decoded = width * height if "progressive" in picture.info else picture.width * picture.height
    if decoded > MOST_PIXELS:
        raise DataError(
            f"{name}: expected at most {MOST_PIXELS:,} pixels, received {width:,} × {height:,}. Make it smaller."
        )


def _is_heic(file: Path | BinaryIO) -> bool:
    """Return whether a file begins as those of HEIF do (ISO/IEC 23008-12): a size, ``ftyp``, a brand."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            begin = opened.read(12)
    else:
        file.seek(0)
        begin = file.read(12)
    return begin[4:8] == b"ftyp" and begin[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1")


def grey(picture: Image.Image) -> Grey:
    """Return a picture's brightness (rows, columns), 0–255: its luma (ITU-R BT.601) as it is seen."""
    seen = _reduced(_upright(picture))
    if seen.mode.startswith("I") or seen.mode == "F":  # 16 bits a pixel, or more
        return _deep(np.asarray(seen, np.float32))
    if not seen.has_transparency_data:
        return np.asarray(seen.convert("RGB").convert("L"), np.float32)
    brightness, opacity = np.moveaxis(np.asarray(seen.convert("RGBA").convert("LA"), np.float32), -1, 0)
    opacity = opacity / 255
    return np.asarray(brightness * opacity + _behind(brightness, opacity) * (1 - opacity), np.float32)


def _upright(picture: Image.Image) -> Image.Image:
    """Return the picture turned as its metadata says; what does not say so cleanly says nothing."""
    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # readers of metadata, too, raise what they like
        return picture


def _reduced(picture: Image.Image) -> Image.Image:
    """Return the picture at about the size that is looked at, before it takes more bytes a pixel."""
    smaller = max(picture.size) // (2 * FINEST)
    if smaller < 2:  # noqa: PLR2004 - as it is
        return picture
    if picture.mode.startswith("I;"):
        picture = picture.convert("I")
    elif picture.mode not in ("L", "RGB", "RGBA", "CMYK", "I", "F"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture.reduce(smaller)


def _behind(brightness: Grey, opacity: Grey) -> float:
    """Return what a picture is seen on: where it shows only ink, the contrast to it; else what its paper ends in."""
    opaque = opacity > 0.5  # noqa: PLR2004 - half
    if not opaque.any():
        return 0
    darkest, brightest = np.percentile(brightness[opaque], [2, 98])
    rim = opaque & ndimage.binary_dilation(~opaque, iterations=2)
    if brightest - darkest > PAPER_AND_INK and rim.any():
        return float(np.median(brightness[rim]))
    return 255 if brightness[opaque].mean() < 128 else 0  # noqa: PLR2004 - half of it


def _deep(values: Grey) -> Grey:
    """Return the brightness of pixels with more than 8 bits; floats are taken to reach from 0 to 1 if none is above.

    Raises:
        ValueError: some are no numbers.
    """
    if not np.isfinite(values).all():
        raise ValueError("not all of its pixels are finite numbers")
    values = values - min(values.min(initial=0), 0)
    brightest = values.max(initial=0)
    scale = next((255 / limit for limit in (1.0, 255.0, 65_535.0) if brightest <= limit), 255 / brightest)
    return np.asarray(values * scale, np.float32)


def fit(brightness: Grey, form: Form) -> Pixels:
    """Return the pixels (H, W), 0–255, in the form of a model's images, for a picture's brightness."""
    if form.boxed:
        pixels = _boxed(brightness, form.height, form.width)
        return pixels if form.light_on_dark else 255 - pixels
    if brightness.shape != (form.height, form.width):
        brightness = resized(shrunk(brightness, FINEST), form.height, form.width)
    if form.light_on_dark is not None and form.light_on_dark == digit_segmentation.is_edge_light(brightness):
        brightness = 255 - brightness
    return _bytes(brightness)


def _boxed(brightness: Grey, height: int, width: int) -> Pixels:
    """Return a picture's digit as MNIST has it, light on dark, (H, W); what is in this form already, as it is."""
    if brightness.shape == (height, width):
        for light in (brightness, 255 - brightness):
            if image_form.is_boxed(light[None])[0]:
                return _bytes(light)
    digit = digit_segmentation.digit(shrunk(brightness, FINEST))
    if digit is None:
        return np.zeros((height, width), np.uint8)
    scale = min(BOX * height / digit.shape[0], BOX * width / digit.shape[1])
    digit = resized(digit, *(max(1, round(side * scale)) for side in digit.shape), sharp=True).clip(0)
    return _bytes(_centred(digit / digit.max() * 255, height, width))


def _centred(digit: Grey, height: int, width: int) -> Grey:
    """Return an image with the digit's centre of mass at pixel (14, 14) of 28 × 28, as near to it as the digit fits in.

    In MNIST's own images it lies there on average, with 14 counted from 0.
    """
    rows, columns = np.indices(digit.shape)
    top = round(height / 2 - np.average(rows, weights=digit))
    left = round(width / 2 - np.average(columns, weights=digit))
    top, left = np.clip([top, left], 0, [height - digit.shape[0], width - digit.shape[1]])
    image = np.zeros((height, width), np.float32)
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return image


def _bytes(values: Grey) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
