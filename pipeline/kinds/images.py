"""The form of the images of a data set (light on dark, in a box), so that pictures can be brought into the same form.

MNIST's form is "size normalized to fit in a 20x20 pixel box while preserving
their aspect ratio", "centered in a 28x28 image by computing the center of mass
of the pixels, and translating the image so as to position this point at the
center" (Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten
digits"; the rule of Y. LeCun et al., "Gradient-Based Learning Applied to
Document Recognition", Proc. IEEE 86, 1998, section III.A). Whether a data set
has this form is measured, not taken from its name.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BOX = 20 / 28
"""Side of the box that a digit is scaled into, as a fraction of the image's side."""

ROUNDED = 1
"""Pixels by which a digit may be smaller than the box: the outermost ones may be rounded to black."""

OFF_CENTRE = 0.6
"""Pixels between the centre of mass and the middle at most: digits are moved by whole pixels."""

MEASURED = 10_000
"""Number of images by which a form is measured."""

NEARLY_ALL = 0.999
"""Fraction of the images that must agree in being light on dark, or dark on light."""

MOST = 0.9
"""Fraction of the images that must be in a box."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of images (N, H, W).

    Attributes:
        height: rows, in pixels.
        width: columns, in pixels.
        light_on_dark: whether the object is lighter than the background; None: the images differ in that.
        boxed: whether they are in MNIST's form: scaled into a box, with the centre of mass in the middle.
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
        """Return the form without the size, for the metadata of a model."""
        return {"light_on_dark": self.light_on_dark, "boxed": self.boxed}


def is_boxed(ink: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which images (N, H, W), light on black, are in MNIST's form."""
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
    """Return for which images the edge is nearer to the darkest than to the brightest pixel."""
    middle = (images.min(axis=(1, 2)) / 2) + (images.max(axis=(1, 2)) / 2)
    return np.asarray(np.median(edge(images), axis=1) <= middle)


def _extent(profile: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of places from the first to the last one with ink, for each profile (N, places)."""
    inked = profile > 0
    first, behind = inked.argmax(axis=1), inked[:, ::-1].argmax(axis=1)
    return np.where(inked.any(axis=1), profile.shape[1] - first - behind, 0)


def _is_central(profile: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for which profiles (N, places) the centre of mass is in the middle: in MNIST place 14 of 28, from 0."""
    places = profile.shape[1]
    centre = profile @ np.arange(places) / np.maximum(profile.sum(axis=1), 1)
    return np.asarray(np.abs(centre - places / 2) <= OFF_CENTRE)
