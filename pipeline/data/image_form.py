"""How the images of a data set look, so that a picture can be made to look like them: light on dark, in a box.

MNIST's form is "size normalized to fit in a 20x20 pixel box while preserving
their aspect ratio", "centered in a 28x28 image by computing the center of mass
of the pixels, and translating the image so as to position this point at the
center" (Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten
digits"; the rule of Y. LeCun et al., "Gradient-Based Learning Applied to
Document Recognition", Proc. IEEE 86, 1998, section III.A). Whether other data
has it is measured, whatever it is called.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BOX = 20 / 28
"""Side of the box that a digit is scaled into, as a part of the image's."""

ROUNDED = 1
"""Pixels by which a box may be smaller: its outermost ones may round to black."""

OFF_CENTRE = 0.6
"""Pixels by which a centre of mass may miss the middle: it is moved by whole ones."""

MEASURED = 10_000
"""Images that are enough to measure a form by."""

NEARLY_ALL = 0.999
"""Part of the images that have to be light on dark, or dark on light, for a picture to be turned into the same."""

MOST = 0.9
"""Part of the images that have to be in a box for a picture to be brought into one."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the images (N, H, W) of a data set look.

    Attributes:
        height: rows, in pixels.
        width: columns, in pixels.
        light_on_dark: whether what they show is lighter than what is around it; None: of some it is, of others not.
        boxed: whether they are in MNIST's form, each scaled into a box, its centre of mass in the middle.
    """

    height: int
    width: int
    light_on_dark: bool | None = None
    boxed: bool = False

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Self:
        """Return the form of images (N, H, W)."""
        images = np.asarray(images[:MEASURED])
        light = float(_is_light_on_dark(images).mean())
        light_on_dark = True if light >= NEARLY_ALL else False if light <= 1 - NEARLY_ALL else None
        ink = 255 - images if light_on_dark is False else images
        boxed = light_on_dark is not None and bool(is_boxed(ink).mean() >= MOST)
        return cls(height=images.shape[1], width=images.shape[2], light_on_dark=light_on_dark, boxed=boxed)

    def description(self) -> dict[str, bool | None]:
        """Return what a model's description says of its form, beside the size."""
        return {"light_on_dark": self.light_on_dark, "boxed": self.boxed}


def is_boxed(ink: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which images (N, H, W), light on black, are as MNIST has them."""
    _, height, width = ink.shape
    rows, columns = ink.sum(axis=2, dtype=float), ink.sum(axis=1, dtype=float)
    tall, wide = _extent(rows) / height, _extent(columns) / width
    longest = np.maximum(tall, wide)
    fits = (longest <= BOX + 1e-9) & (longest >= BOX - ROUNDED / max(height, width) - 1e-9)
    return np.asarray(fits & _is_central(rows) & _is_central(columns))


def edge(image: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels of images (…, H, W), (…, P)."""
    sides = image[..., 0, :], image[..., -1, :], image[..., 1:-1, 0], image[..., 1:-1, -1]
    return np.concatenate(sides, axis=-1)


def _is_light_on_dark(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return of which images the edge is nearer to the darkest than to the brightest pixel."""
    middle = (images.min(axis=(1, 2)) / 2) + (images.max(axis=(1, 2)) / 2)
    return np.asarray(np.median(edge(images), axis=1) <= middle)


def _extent(profile: NDArray[Any]) -> NDArray[np.intp]:
    """Return from the first to the last place of ink how many there are, for each profile (N, places)."""
    inked = profile > 0
    first, behind = inked.argmax(axis=1), inked[:, ::-1].argmax(axis=1)
    return np.where(inked.any(axis=1), profile.shape[1] - first - behind, 0)


def _is_central(profile: NDArray[Any]) -> NDArray[np.bool_]:
    """Return of which profiles (N, places) the centre of mass is in the middle: in MNIST at place 14 of 28, from 0."""
    places = profile.shape[1]
    centre = profile @ np.arange(places) / np.maximum(profile.sum(axis=1), 1)
    return np.asarray(np.abs(centre - places / 2) <= OFF_CENTRE)
