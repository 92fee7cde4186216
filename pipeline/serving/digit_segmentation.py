"""Find a digit on a picture: its ink, on paper in any light, with whatever lies around the paper or is printed on it.

The paper in each place is what a window slid over the picture finds to be the
brightest, where it can be slid without meeting anything darker (the closing of
mathematical morphology; J. Serra, "Image Analysis and Mathematical Morphology",
1982). Beyond its edge the picture is continued as it ends. So a shadow, a
vignette, a frame and the desk below a sheet are wide, and are paper of another
brightness; ink is what is thin. It is darker than the paper or lighter: which
of the two is told by what is thinner. Lines that run through the whole picture
are printed, and specks are much smaller than a digit: neither is ink.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.data.image_form import edge

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

SEEN = 160
"""Pixels on the longer side that are enough to find a digit by; averaging to so many evens a camera's noise out."""

INK = 0.2
"""Darkness, from paper (0) to the darkest ink (1), from which a pixel counts as ink: above a photo's noise."""

CONTRAST = 10
"""Brightness, of 255, by which ink differs from paper at least."""

NOISE = 7
"""The same in standard deviations of a sensor's noise: of tens of thousands of pixels none strays as far."""

STRONG = 0.3
"""Part of the largest contrast from which what is dark, and what is light, are held against each other."""

FAINT = 0.08
"""Darkness from which a pixel may be of a printed line."""

THROUGH = 0.7
"""Part of a straight line through the picture that is dark where it is printed."""

TILTS = np.tan(np.radians(sorted(np.arange(-6, 6.5, 0.5), key=abs)))
"""Slopes that printed lines may have; of equally good ones the first is taken."""

SPECK = 0.1
"""Part of a digit's ink below which what lies beside it does not belong to it."""

MOST = 0.8
"""Part of what surrounds a page that is of one brightness, be it a frame or the paper: a digit may touch it."""

LEAST = 10
"""Pixels on the shorter side of what may hold a digit."""

NEIGHBOURS = np.ones((3, 3), bool)


def resized(values: Grey, height: int, width: int, *, sharp: bool = False) -> Grey:
    """Return the picture in another size; what becomes smaller is averaged, not sampled.

    What becomes larger is as blurred as straight lines between its pixels make it; less where it shall be ``sharp``.
    """
    method = Image.Resampling.BICUBIC if sharp and height > values.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values).resize((width, height), method), np.float32)


def shrunk(values: Grey, longest: int) -> Grey:
    """Return the picture with at most so many pixels on its longer side."""
    larger = max(values.shape) / longest
    return resized(values, *(max(1, round(side / larger)) for side in values.shape)) if larger > 1 else values


def box(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns that hold what is true; all of them if nothing is."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def is_edge_light(brightness: Grey) -> bool:
    """Return whether the picture's edge is nearer to its brightest than to its darkest pixel."""
    return bool(np.median(edge(brightness)) > (brightness.min() + brightness.max()) / 2)


def digit(brightness: Grey) -> Grey | None:
    """Return the ink of the digit on a picture, 0–1, cut to the digit; None if there is none.

    Args:
        brightness: of the picture (rows, columns), 0–255.
    """
    page = _without_frame(brightness)
    seen = shrunk(page, SEEN)
    if not (is_edge_light(seen) if page is not brightness else _is_dark_on_light(seen)):
        page, seen = 255 - page, 255 - seen
    ink = _without_lines(_ink(seen))
    chosen = _chosen(ink)
    if seen.shape != page.shape and chosen.any():
        near, here = _closer(page, chosen)
        ink = np.where(here, _ink(near), 0)
        chosen = _chosen(ink)
    return np.where(chosen, ink, 0)[box(chosen)].astype(np.float32) if chosen.any() else None


def _closer(brightness: Grey, chosen: Mask) -> tuple[Grey, Mask]:
    """Return what is around the chosen pixels as the picture has it, and which of it they may be."""
    margin = math.ceil(0.3 * max(chosen[box(chosen)].shape)) + 1
    around = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box(chosen))
    near = shrunk(_enlarged(around, brightness, chosen), SEEN)
    here = ndimage.binary_dilation(chosen, NEIGHBOURS)[around]
    return near, resized(here.astype(np.float32), *near.shape) > 0.5  # noqa: PLR2004 - half a pixel


def _without_frame(brightness: Grey) -> Grey:
    """Return what is within a frame of one brightness, or the sheet that lies straight on a desk; else the picture."""
    seen = shrunk(brightness, SEEN)
    span, around = np.ptp(seen), edge(seen)
    rows, columns = box(abs(seen - np.median(around)) > 0.2 * span)
    sides = slice(rows.start + 1, rows.stop - 1), slice(columns.start + 1, columns.stop - 1)  # without the frame's blur
    page = seen[sides]
    if min(page.shape) < LEAST or np.ptp(page) < STRONG * span:
        return brightness
    frame, rim = np.median(around), np.median(edge(page))
    of_frame, of_rim = (abs(values - level) <= 0.1 * span for values, level in ((around, frame), (page, rim)))
    even = of_frame.mean() > MOST and edge(of_rim).mean() > MOST
    if not even or abs(rim - frame) <= 0.2 * span or of_rim.mean() < 0.5:  # noqa: PLR2004 - of a digit less is ink
        return brightness
    return _without_frame(_enlarged(sides, brightness, seen))


def _enlarged(sides: tuple[slice, ...], brightness: Grey, seen: NDArray[Any]) -> Grey:
    """Return the part of a picture that ``sides`` of it are as it is seen smaller."""
    scales = [large / small for large, small in zip(brightness.shape, seen.shape, strict=True)]
    there = (slice(round(one.start * scale), round(one.stop * scale)) for one, scale in zip(sides, scales, strict=True))
    return np.ascontiguousarray(brightness[tuple(there)])


def _closed(brightness: Grey, window: int) -> Grey:
    """Return the brightness, raised to that around it where no square of ``window`` pixels, an odd number, fits in."""
    continued = np.pad(brightness, window, "edge")
    closed = ndimage.minimum_filter(ndimage.maximum_filter(continued, window), window)
    return np.asarray(closed[window:-window, window:-window], np.float32)


def _below_paper(brightness: Grey) -> Grey:
    """Return by how much each pixel is darker than the paper around it."""
    return _closed(brightness, max(3, max(brightness.shape) // 2 | 1)) - brightness


def _ink(brightness: Grey) -> Grey:
    """Return how dark the ink is, from paper (0) to the darkest (1), in whatever light; all 0 if nothing stands out."""
    below = _below_paper(brightness)
    noise = 1.48 * np.median(abs(brightness - ndimage.median_filter(brightness, 3)))  # of a normal distribution
    if below.max() - np.percentile(below, 25) < max(CONTRAST, NOISE * noise):
        return np.zeros_like(below)
    paper = brightness + below
    ink = below / np.maximum(paper, 0.3 * paper.max())  # of what is nearly black, noise is no ink
    ink = np.maximum(ink - np.percentile(ink, 25), 0)  # the brightest of noisy paper is above the paper
    return np.asarray(ink / ink.max(), np.float32)


def _is_dark_on_light(brightness: Grey) -> bool:
    """Return whether ink is darker than its paper: on the whole picture, and then on what stands out from it.

    That may be a sheet on a desk, or what a frame holds, and the ink on it of the other kind.
    """
    dark, light = _below_paper(brightness), _below_paper(255 - brightness)
    strong = STRONG * max(dark.max(), light.max())
    whole = _thinness(brightness, strong)
    rows, columns = (_inset(side) for side in box(_large((dark if whole > 0 else light) > strong)))
    if min(rows.stop - rows.start, columns.stop - columns.start) < LEAST:
        return whole > 0
    within = _thinness(brightness[rows, columns], strong)
    return (within if within * whole < 0 and abs(within) > abs(whole) / 4 else whole) > 0


def _inset(side: slice) -> slice:
    """Return a side without a twelfth at either end, where a sheet that lies askew has its corners."""
    margin = (side.stop - side.start) // 12
    return slice(side.start + margin, side.stop - margin)


def _thinness(brightness: Grey, strong: float) -> float:
    """Return how much of what is thin is dark, and how much is light: the difference of their lengths, times contrast.

    What is thinner than a window vanishes in it. The area of that over the
    window's side is about a length: strokes are longer than the gaps between
    them, and writing is longer than the sheet that it stands on. Less contrast
    than ``strong`` does not count.
    """
    total = 0.0
    for window in _windows(max(brightness.shape)):
        dark = _closed(brightness, window) - brightness
        light = _closed(255 - brightness, window) - (255 - brightness)
        total += float(dark[dark > strong].sum() - light[light > strong].sum()) / window
    return total


def _windows(longest: int) -> Iterator[int]:
    """Yield the sides of windows, each about half as large again as the last, up to the width of the boldest stroke."""
    window = 3
    while window <= max(3, 0.3 * longest):
        yield window
        window = int(window * 1.5) | 1


def _parts(mask: Mask) -> tuple[NDArray[np.intp], int]:
    """Return the number of the part that each pixel is of, 0 where there is none, and how many parts there are."""
    numbers, count = ndimage.label(mask, NEIGHBOURS)
    return numbers, int(count)


def _large(mask: Mask) -> Mask:
    """Return the mask without what is much smaller than its largest part."""
    numbers, _ = _parts(mask)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return np.asarray(mask & (sizes >= SPECK * sizes.max())[numbers])


def _chosen(ink: Grey) -> Mask:
    """Return which pixels are the digit's: the part with most ink, and what is near and large enough to be of it."""
    numbers, count = _parts(ink >= INK)
    if count < 2:  # noqa: PLR2004 - nothing to choose from
        return numbers > 0
    parts = np.arange(1, count + 1)
    amounts = np.asarray(ndimage.sum_labels(ink, numbers, parts))
    cut_off = np.isin(parts, np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]]))
    amounts[cut_off] /= 4  # what the picture's border cuts off is rather something beside the paper
    boxes = np.array([[side.start, side.stop] for sides in ndimage.find_objects(numbers) for side in sides])
    starts, stops = boxes.reshape(count, 2, 2).transpose(2, 0, 1)
    most = amounts.argmax()
    gaps = np.maximum(starts - stops[most], starts[most] - stops).max(axis=1)
    near = gaps <= (stops[most] - starts[most]).max() / 4
    inside = ((starts >= starts[most]) & (stops <= stops[most])).all(axis=1)
    return np.isin(numbers, parts[inside | near & (amounts >= SPECK * amounts[most])])


def _without_lines(ink: Grey) -> Grey:
    """Return the ink without straight lines that run through the picture, about level or upright."""
    level = _without_level_lines(ink)
    return _without_level_lines(np.ascontiguousarray(level.T)).T


def _without_level_lines(ink: Grey) -> Grey:
    """Return the ink without lines from left to right, of which there are at least two, thinner than strokes.

    What is darker than a line stays. Strokes that are not are cut by it, and are joined again.
    """
    slope, lines = _lines(ink > FAINT)
    runs, _ = ndimage.label(lines)
    thickness = np.bincount(runs)[1:]
    printed = np.flatnonzero(thickness <= max(2, len(ink) / 20)) + 1
    if len(printed) < 2:  # noqa: PLR2004
        return ink
    numbers = _numbers(ink.shape, slope)
    of_lines = np.flatnonzero(np.isin(runs, printed))
    each = np.asarray(ndimage.median(ink, numbers, of_lines))
    darkness = np.zeros(len(lines))
    darkness[of_lines] = np.minimum(each, np.median(each))  # a stroke along a line is darker than the others
    darkness = ndimage.maximum_filter1d(darkness, 3)[numbers]  # a line's edge is up to a pixel beside it
    cut = np.where((darkness > 0) & (ink <= 1.25 * darkness + 0.05), 0, ink)
    across = int(thickness[printed - 1].max()) + 3
    joined = ndimage.grey_closing(np.pad(cut, ((across, across), (0, 0))), (across, 1))[across:-across]
    return np.asarray(np.where(darkness > 0, np.minimum(ink, joined), ink), np.float32)


def _lines(dark: Mask) -> tuple[float, Mask]:
    """Return the slope by which most of the straight lines through the picture are dark, and which these are.

    A line's number is the row that it crosses the middle column in, counted from the first that crosses any column.
    """
    height, width = dark.shape
    rows, columns = np.nonzero(dark)
    best, slope, lines = -1.0, 0.0, np.zeros(height, bool)
    for tilt in TILTS:
        drop = _drop(width, tilt)
        count = height + int(np.ptp(drop))
        crossed = np.bincount(drop.max() - drop, minlength=count + 1) - np.bincount(
            drop.max() - drop + height, minlength=count + 1
        )
        length = crossed.cumsum()[:count]
        share = np.bincount(rows - drop[columns] + drop.max(), minlength=count) / np.maximum(length, width / 2)
        through = share > THROUGH
        if (score := float((share[through] ** 2).sum())) > best:
            best, slope, lines = score, tilt, through
    return slope, lines


def _drop(width: int, slope: float) -> NDArray[np.intp]:
    """Return by how many rows a line of this slope is lower in each column than in the middle one."""
    return np.asarray(np.rint((np.arange(width) - width // 2) * slope), np.intp)


def _numbers(shape: tuple[int, ...], slope: float) -> NDArray[np.intp]:
    """Return the number of the line of this slope that each pixel is on."""
    drop = _drop(shape[1], slope)
    return np.asarray(np.arange(shape[0])[:, None] - drop + drop.max(), np.intp)
