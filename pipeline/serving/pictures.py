"""Read a picture file, in any format and mode, as the pixels that a model reads.

A picture becomes grey, as it is seen: turned the way its camera was held, what is transparent in contrast to what is
not. :mod:`pipeline.serving.digit_segmentation` brings it into the form of the model's images.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from scipy import ndimage

from pipeline.errors import DataError
from pipeline.kinds.images import Images
from pipeline.serving.digit_segmentation import FINEST, Grey, Pixels, fit

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "ICO", "TGA")
"""Formats that Pillow reads itself. It hands others (EPS) to separate programs."""

OTHER_VIEWS = ("MPO", "ICO")
"""Formats whose further pictures show the first one again: a camera's depth or light, an icon's other sizes."""

MOST_PIXELS = 2**26
"""Pixels of a picture, each of which takes about eight bytes: above every phone's camera but the largest."""

LARGEST = 2**28  # bytes of a file

PAPER_AND_INK = 64
"""Least difference in brightness, of 255, within the opaque part of a picture that shows paper as well as ink."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow refuses twice as many, and those of a picture in a picture (ICO)
warnings.filterwarnings("ignore", module=r"PIL\.")  # about pictures that are read all the same, or named in an error


def read(file: Path | BinaryIO, *, name: str, form: Images) -> Pixels:
    """Return the pixels (H, W), 0–255, of a picture file, or of the first of its pages.

    Raises:
        DataError: see :func:`pages`.
    """
    return next(pages(file, name=name, form=form))


def pages(file: Path | BinaryIO, *, name: str, form: Images) -> Iterator[Pixels]:
    """Yield the pixels (H, W), 0–255, of each page of a TIFF file, each frame of a GIF, or the one picture of a file.

    Args:
        file: the picture, in one of :data:`FORMATS`.
        name: the file's name in errors.
        form: the form of the images that the model reads.

    Raises:
        DataError: it is not a picture, is damaged, or has too many bytes or pixels; raised after the pages before.
    """
    for brightness in _opened(file, name):
        yield fit(brightness, form)


def _opened(file: Path | BinaryIO, name: str) -> Iterator[Grey]:
    """Yield the brightness of each page."""
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened, _explained(name):
        if (size := opened.seek(0, 2)) > LARGEST:
            raise DataError(f"{name}: expected at most {LARGEST:,} bytes, received {size:,}. Make it smaller.")
        opened.seek(0)
        _check_heic(opened.read(12), name)
        opened.seek(0)
        with Image.open(opened, formats=FORMATS) as picture:
            for page in ImageSequence.Iterator(picture):
                _check_pixels(page, name)
                yield grey(page)
                if picture.format in OTHER_VIEWS:
                    return


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn anything that Pillow raises into an error that names the file: its decoders raise errors of all kinds."""
    expected = f"{name}: expected a picture such as a PNG or JPEG file, received"
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{expected} a file that is not a picture.") from None
    except Image.DecompressionBombError:
        raise DataError(f"{name}: expected at most {MOST_PIXELS:,} pixels, received more. Make it smaller.") from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{expected} a damaged one ({reason}).") from None


def _check_pixels(picture: Image.Image, name: str) -> None:
    """Check a page's size by its header; a large JPEG is then decoded at reduced size, unless it is progressive."""
    width, height = picture.size
    picture.draft("L", (2 * FINEST, 2 * FINEST))
    decoded = width * height if "progressive" in picture.info else picture.width * picture.height
    if decoded > MOST_PIXELS:
        raise DataError(
            f"{name}: expected at most {MOST_PIXELS:,} pixels, received {width:,} × {height:,}. Make it smaller."
        )


def _check_heic(start: bytes, name: str) -> None:
    """Refuse a file that starts as HEIF files do (ISO/IEC 23008-12): a size, ``ftyp``, a brand."""
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"):
        raise DataError(
            f"{name}: expected a picture such as a PNG or JPEG file, received HEIC, which is not read. Make a JPEG "
            "of it: on macOS `sips -s format jpeg FILE --out FILE.jpg`, elsewhere `heif-convert FILE FILE.jpg` or "
            "`magick FILE FILE.jpg`; an iPhone takes JPEG by Settings, Camera, Formats, Most Compatible."
        )


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
    """Return the picture turned as its metadata says; damaged metadata turns nothing."""
    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # readers of metadata, too, raise errors of all kinds
        return picture


def _reduced(picture: Image.Image) -> Image.Image:
    """Return the picture at about the size that is needed, before it takes more bytes a pixel."""
    factor = max(picture.size) // (2 * FINEST)
    if factor < 2:  # noqa: PLR2004 - nothing to reduce
        return picture
    if picture.mode.startswith("I;"):
        picture = picture.convert("I")
    elif picture.mode not in ("L", "RGB", "RGBA", "CMYK", "I", "F"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture.reduce(factor)


def _behind(brightness: Grey, opacity: Grey) -> float:
    """Return the brightness behind a transparent picture: its paper's at the rim, or the contrast to ink alone."""
    opaque = opacity > 0.5  # noqa: PLR2004 - half
    if not opaque.any():
        return 0
    darkest, brightest = np.percentile(brightness[opaque], [2, 98])
    rim = opaque & ndimage.binary_dilation(~opaque, iterations=2)
    if brightest - darkest > PAPER_AND_INK and rim.any():
        return float(np.median(brightness[rim]))
    return 255 if brightness[opaque].mean() < 128 else 0  # noqa: PLR2004 - half of it


def _deep(values: Grey) -> Grey:
    """Return the brightness of pixels with more than 8 bits; floats are from 0 to 1 if none is above.

    Raises:
        ValueError: some are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("not all of its pixels are finite numbers")
    values = values - min(values.min(initial=0), 0)
    brightest = values.max(initial=0)
    scale = next((255 / limit for limit in (1.0, 255.0, 65_535.0) if brightest <= limit), 255 / brightest)
    return np.asarray(values * scale, np.float32)
