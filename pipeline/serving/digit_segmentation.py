"""Find the digit on a picture, and convert it to the form of a model's images.

For a model of images in MNIST's form (:mod:`pipeline.kinds.images`) the digit is found, on paper in any light, and
brought into that form. The desk around the paper and lines printed on it are ignored. For other models the picture is
resized, and inverted to light on dark if all images of the data are.

The brightness of the paper at each place is the morphological closing of the picture (J. Serra, "Image Analysis and
Mathematical Morphology", 1982) with a window of half its side; the picture is continued beyond its edge. Shadows,
vignettes, frames and the desk below a sheet are wide, so they count as paper of another brightness. Ink is thin. It is
darker or lighter than the paper, depending on which of the two is thinner. Ruled lines run through the whole picture,
and specks are much smaller than a digit: neither is ink.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.transform import hough_line

from pipeline.kinds.images import BOX, Images, edge, is_boxed

Grey = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

FINEST = 1_024
"""Pixels on the longer side that are enough to draw a digit."""

SEEN = 160
"""Pixels on the longer side that are enough to find a digit; the average evens out a camera's noise."""

INK = 0.2
"""Minimum darkness of ink, from paper (0) to the darkest ink (1): above a photo's noise."""

CONTRAST = 10
"""Minimum difference in brightness, of 255, between ink and paper."""

NOISE = 7
"""The same in standard deviations of a sensor's noise: none of tens of thousands of pixels deviates that much."""

STRONG = 0.3
"""Minimum contrast of the dark and light parts that are compared, as a fraction of the largest."""

FAINT = 0.08
"""Minimum darkness of a pixel of a ruled line."""

THROUGH = 0.7
"""Minimum fraction of dark pixels in a ruled line."""

TILTS = np.radians(sorted(np.arange(-6, 6.5, 0.5), key=abs))
"""Angles by which ruled lines may be tilted; the first of equally good ones is chosen."""

AROUND = np.ones((3, 3))
"""A pixel and its eight neighbours, which belong together."""

SPECK = 0.1
"""Minimum ink of a part next to a digit that belongs to it, as a fraction of the digit's ink."""


def fit(brightness: Grey, form: Images) -> Pixels:
    """Return a picture's brightness (rows, columns) as pixels (H, W), 0–255, in the form of a model's images."""
    if form.boxed:
        pixels = _boxed(brightness, form.height, form.width)
        return pixels if form.light_on_dark else 255 - pixels
    resized = _resized(_shrunk(brightness, FINEST), form.height, form.width)
    is_edge_light = bool(np.median(edge(resized)) > (resized.min() + resized.max()) / 2)
    return _bytes(255 - resized if form.light_on_dark == is_edge_light else resized)


def _boxed(brightness: Grey, height: int, width: int) -> Pixels:
    """Return a picture's digit in MNIST's form, light on dark, (H, W); a picture in this form is not changed."""
    if brightness.shape == (height, width):
        for light in (brightness, 255 - brightness):
            if is_boxed(light[None])[0]:
                return _bytes(light)
    found = digit(_shrunk(brightness, FINEST))
    if found is None:
        return np.zeros((height, width), np.uint8)
    scale = min(BOX * height / found.shape[0], BOX * width / found.shape[1])
    found = _resized(found, *(max(1, round(side * scale)) for side in found.shape)).clip(0)
    return _bytes(_centred(found / found.max() * 255, height, width))


def _centred(found: Grey, height: int, width: int) -> Grey:
    """Return an image with a digit's centre of mass as near to pixel (14, 14) of 28 × 28 as its size allows.

    In MNIST's own images it lies there on average, with 14 counted from 0.
    """
    middles = np.round(np.array([height, width]) / 2 - ndimage.center_of_mass(found)).astype(int)
    top, left = np.clip(middles, 0, np.subtract([height, width], found.shape))
    bottom, right = np.subtract([height, width], found.shape) - (top, left)
    return np.pad(found, ((top, bottom), (left, right)))


def _bytes(values: Grey) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _resized(values: Grey, height: int, width: int) -> Grey:
    """Return the picture in another size: averaged if it is smaller, otherwise interpolated."""
    method = Image.Resampling.BICUBIC if height > values.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values).resize((width, height), method), np.float32)


def _shrunk(values: Grey, longest: int) -> Grey:
    """Return the picture with at most ``longest`` pixels on its longer side."""
    larger = max(values.shape) / longest
    return _resized(values, *(max(1, round(side / larger)) for side in values.shape)) if larger > 1 else values


def digit(brightness: Grey) -> Grey | None:
    """Return the ink of the digit on a picture, 0–1, cropped to the digit; None if there is none.

    Args:
        brightness: brightness of the picture (rows, columns), 0–255.
    """
    if not _is_dark_on_light(_shrunk(brightness, SEEN)):
        brightness = 255 - brightness
    ink = _ink(_shrunk(brightness, SEEN))
    chosen = _chosen(_without_level_lines(_without_level_lines(ink).T).T)
    if not chosen.any():  # all ink is straight: strokes rather than ruled lines
        chosen = _chosen(ink)
    if not chosen.any():
        return None
    part, near = _around(chosen, brightness)
    ink = _ink(_shrunk(part, SEEN))
    ink = np.where(_resized(near, *ink.shape) > 0.5, ink, 0)  # noqa: PLR2004 - half a pixel
    chosen = _chosen(ink)
    return np.where(chosen, ink, 0)[_box(chosen)].astype(np.float32) if chosen.any() else None


def _around(chosen: Mask, page: Grey) -> tuple[Grey, Grey]:
    """Return the surroundings of the chosen pixels at full size, and which pixels there may be chosen, 0 or 1."""
    margin = math.ceil(0.3 * max(chosen[_box(chosen)].shape)) + 1
    near = ndimage.binary_dilation(chosen, AROUND, iterations=margin)
    places, scales = np.argwhere(near), np.array(page.shape) / chosen.shape
    (top, left), (bottom, right) = np.rint([places.min(axis=0) * scales, (places.max(axis=0) + 1) * scales]).astype(int)
    belonging = ndimage.binary_dilation(chosen, AROUND)[_box(near)]
    return np.ascontiguousarray(page[top:bottom, left:right]), belonging.astype(np.float32)


def _box(mask: Mask) -> tuple[slice, ...]:
    """Return the rows and columns of the smallest box around all true pixels."""
    return tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(mask))


def _below_paper(brightness: Grey, window: int | None = None) -> Grey:
    """Return how much darker each pixel is than its surroundings of the size of a square window.

    Args:
        brightness: brightness of the picture.
        window: side of the square in pixels, an odd number; by default half the picture's side, which shows the paper.
    """
    window = window or max(3, max(brightness.shape) // 2 | 1)
    below = ndimage.black_tophat(np.pad(brightness, window, "edge"), window)
    return np.asarray(below[window:-window, window:-window], np.float32)


def _ink(brightness: Grey) -> Grey:
    """Return how dark the ink is, from paper (0) to the darkest (1), in any light; all 0 if nothing stands out."""
    below = _below_paper(brightness)
    noise = 1.48 * np.median(abs(brightness - ndimage.median_filter(brightness, 3)))  # of a normal distribution
    if below.max() - np.percentile(below, 25) < max(CONTRAST, NOISE * noise):
        return np.zeros_like(below)
    paper = brightness + below
    ink = below / np.maximum(paper, 0.3 * paper.max())  # so that noise in nearly black parts is not ink
    ink = np.maximum(ink - np.percentile(ink, 25), 0)  # the brightest part of noisy paper is above the paper
    return np.asarray(ink / ink.max(), np.float32)


def _is_dark_on_light(brightness: Grey) -> bool:
    """Return whether ink is darker than its paper, on the whole picture or on the largest part that stands out from it.

    That part may be a sheet on a desk, or the inside of a frame that is drawn in the other colour.
    """
    dark, light = _below_paper(brightness), _below_paper(255 - brightness)
    strong = STRONG * max(dark.max(), light.max())
    whole = _thinness(brightness, strong)
    numbers, count = ndimage.label((dark if whole > 0 else light) > strong, AROUND)
    if not count:
        return whole > 0
    sides = ndimage.find_objects(numbers)[np.bincount(numbers.ravel())[1:].argmax()]
    margins = [(side.stop - side.start) // 12 for side in sides]  # ignores the corners of a rotated sheet
    rows, columns = (
        slice(each.start + margin, each.stop - margin) for each, margin in zip(sides, margins, strict=True)
    )
    within = _thinness(brightness[rows, columns], strong)
    return (within if within * whole < 0 and abs(within) > abs(whole) / 4 else whole) > 0


def _thinness(brightness: Grey, strong: float) -> float:
    """Return the length of thin dark parts minus the length of thin light parts, weighted by their contrast.

    Parts thinner than a window vanish in its closing; their area divided by the window's side is about a length.
    Strokes are longer than the gaps between them, and writing is longer than its sheet. Contrasts below ``strong``
    don't count.
    """
    total, window = 0.0, 3
    while window <= max(3, 0.3 * max(brightness.shape)):  # the width of the boldest stroke
        dark, light = _below_paper(brightness, window), _below_paper(255 - brightness, window)
        total += float(dark[dark > strong].sum() - light[light > strong].sum()) / window
        window = int(window * 1.5) | 1
    return total


def _chosen(ink: Grey) -> Mask:
    """Return which pixels belong to the digit: the part with most ink, and large parts near it."""
    numbers, count = ndimage.label(ink >= INK, AROUND)
    if not count:
        return np.zeros(ink.shape, bool)
    amounts = np.bincount(numbers.ravel(), ink.ravel())[1:]
    boxes = np.array([[(side.start, side.stop) for side in sides] for sides in ndimage.find_objects(numbers)])
    starts, stops, most = boxes[..., 0], boxes[..., 1], amounts.argmax()
    gaps = np.maximum(starts - stops[most], starts[most] - stops).max(axis=1)
    near = gaps <= (stops[most] - starts[most]).max() / 4
    return np.isin(numbers, 1 + np.flatnonzero(near & (amounts >= SPECK * amounts[most])))


def _without_level_lines(ink: Grey) -> Grey:
    """Return the ink without ruled lines from left to right, if there are at least two, thinner than strokes.

    Darker ink on a line stays.
    """
    numbers, through = _lines(ink > FAINT)
    runs, _ = ndimage.label(through)
    ruled = np.flatnonzero(np.bincount(runs)[1:] <= max(2, len(ink) / 20)) + 1
    if len(ruled) < 2:  # noqa: PLR2004
        return ink
    is_ruled = np.isin(runs, ruled)
    darkness = np.median(ink[is_ruled[numbers]])
    near = ndimage.binary_dilation(is_ruled)[numbers]  # the edge of a line may be a pixel away
    return np.where(near & (ink <= 1.25 * darkness + 0.05), 0, ink).astype(np.float32)


def _lines(dark: Mask) -> tuple[NDArray[np.intp], Mask]:
    """Return the number of the nearly level line through each pixel, and which of these lines are dark throughout.

    The lines are parallel, at the tilt with the most dark lines.
    """
    angles = np.pi / 2 + TILTS
    counts, _, distances = hough_line(dark, angles)
    lengths, _, _ = hough_line(np.ones_like(dark), angles)
    share = counts / np.maximum(lengths, dark.shape[1] / 2)
    best = (share**2 * (share > THROUGH)).sum(axis=0).argmax()
    rows, columns = np.indices(dark.shape)
    along = columns * np.cos(angles[best]) + rows * np.sin(angles[best])
    return np.rint(along).astype(np.intp) + len(distances) // 2, share[:, best] > THROUGH
