"""From a picture, a file or a drawing, to the pixels that a model reads.

Any picture becomes grey, as it is seen: turned the way its camera held it,
what is transparent in contrast to what is not. For a model of handwritten
digits it is then brought into MNIST's form: light on dark, "size normalized to
fit in a 20x20 pixel box while preserving their aspect ratio", "centered in a
28x28 image by computing the center of mass of the pixels, and translating the
image so as to position this point at the center" (Y. LeCun, C. Cortes and
C. Burges, "The MNIST database of handwritten digits"; the rule of Y. LeCun et
al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86,
1998, section III.A). For other models it is resized, and no more.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import DataError

MNIST = "mnist"

BOX = 20 / 28
"""Side of the box that a digit is scaled into, as a part of the image's."""

INK = 0.2
"""Darkness, from paper (0) to the darkest ink (1), from which a pixel counts as ink: above a photo's noise."""

FINEST = 1_024
"""Pixels on the longer side that are enough to find a digit by; averaging to so many evens a camera's noise out."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "ICO", "TGA")
"""What is opened: pixels, read by Pillow itself. Others (EPS) it hands to programs of their own."""

MOST_PIXELS = 2**26
"""Of a picture: above every phone's camera but the largest; it takes about eight bytes for each."""

Grey = NDArray[np.float32]


def read(file: Path | BinaryIO, *, name: str, dataset: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return the pixels (H, W), 0–255, that stand for a picture file.

    Args:
        file: the picture, in one of :data:`FORMATS`.
        name: of the file, as the error shall name it.
        dataset: that the model was trained on.
        height: rows of an image, in pixels.
        width: columns of an image, in pixels.

    Raises:
        DataError: it is no picture, it is damaged, or it has too many pixels.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height <= MOST_PIXELS:
                picture.draft("RGB", (2 * FINEST, 2 * FINEST))  # of a large JPEG no more than is looked at
                return fit(grey(picture), dataset=dataset, height=height, width=width)
            size = f"{picture.width:,} × {picture.height:,}"
    except UnidentifiedImageError:
        problem = "one that is not"
    except (
        Exception
    ) as error:  # Pillow's decoders raise what they like: RuntimeError, NotImplementedError, struct.error
        problem = f"a damaged one ({error})"
    else:
        raise DataError(f"{name}: expected at most {MOST_PIXELS:,} pixels, received {size}. Make it smaller.")
    raise DataError(f"{name}: expected a picture such as a PNG or JPEG file, received {problem}.")


def grey(picture: Image.Image) -> Grey:
    """Return a picture's brightness (rows, columns), 0–255: its luma (ITU-R BT.601) as it is seen."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":  # 16 bits a pixel, or more
        return _deep(np.asarray(upright, np.float32))
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB").convert("L"), np.float32)
    brightness, opacity = np.moveaxis(np.asarray(upright.convert("RGBA").convert("LA"), np.float32), -1, 0)
    opacity /= 255
    seen = float((brightness * opacity).sum() / max(opacity.sum(), 1))
    behind = 255 if seen < 128 else 0  # noqa: PLR2004 - half of it; ink of either kind stands out
    return np.asarray(brightness * opacity + behind * (1 - opacity), np.float32)


def fit(brightness: Grey, *, dataset: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return the pixels (H, W), 0–255, of a model that was trained on ``dataset``, for a picture's brightness."""
    same_size = brightness.shape == (height, width)
    if (larger := max(brightness.shape) / FINEST) > 1:
        brightness = _resized(brightness, *(max(1, round(side / larger)) for side in brightness.shape))
    if dataset == MNIST and not (same_size and not _is_dark_on_light(brightness)):
        return _as_mnist(brightness, height, width)
    if not same_size:
        brightness = _resized(brightness, height, width)
    return _bytes(brightness)


def _deep(values: Grey) -> Grey:
    """Return the brightness of pixels with more than 8 bits; floats are taken to reach from 0 to 1 if none is above."""
    brightest = values.max(initial=0)
    scale = next((255 / limit for limit in (1.0, 255.0, 65_535.0) if brightest <= limit), 255 / brightest)
    return np.asarray(values * scale, np.float32)


def _is_dark_on_light(brightness: Grey) -> bool:
    """Return whether the picture's edge is nearer to its brightest than to its darkest pixel."""
    return bool(np.median(_edge(brightness)) > (brightness.min() + brightness.max()) / 2)


def _edge(values: Grey) -> Grey:
    """Return the outermost pixels."""
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])


def _as_mnist(brightness: Grey, height: int, width: int) -> NDArray[np.uint8]:
    """Return a digit as MNIST has it, (H, W)."""
    ink = _ink(brightness)
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    if not len(rows):
        return np.zeros((height, width), np.uint8)
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(BOX * height / digit.shape[0], BOX * width / digit.shape[1])
    digit = _resized(digit, *(max(1, round(side * scale)) for side in digit.shape))
    return _bytes(_centred(digit / digit.max() * 255, height, width))


def _ink(brightness: Grey) -> Grey:
    """Return how dark the ink is, 0–1, with paper at 0, whatever the light that falls on it."""
    ink = 255 - brightness if _is_dark_on_light(brightness) else brightness
    ink = ink - _paper(ink)
    darkest = ink.max(initial=0)
    if darkest <= 0:
        return np.zeros_like(ink)
    ink = ink / darkest
    return np.where(ink < INK, 0, ink).astype(np.float32)


def _paper(values: Grey) -> Grey:
    """Return the plane that fits the picture's edge: light that falls in from a side makes paper no ink."""
    rows, columns = (np.asarray(index, np.float32) for index in np.indices(values.shape))
    places = np.stack([_edge(rows), _edge(columns), np.ones_like(_edge(rows))], axis=1)
    edge = _edge(values)
    paper = edge <= (values.min() + values.max()) / 2  # the rest of the edge is ink that touches it
    plane = np.linalg.lstsq(places[paper], edge[paper], rcond=None)[0]
    return np.asarray(plane[0] * rows + plane[1] * columns + plane[2], np.float32)


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


def _resized(values: Grey, height: int, width: int) -> Grey:
    """Return the picture in another size; what becomes smaller is averaged, not sampled."""
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _bytes(values: Grey) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
