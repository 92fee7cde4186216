"""Images: grey pixels (N, H, W), 0 to 255, read in steps of rows, columns or other pieces.

Their form (light on dark, in a box) is measured, so that pictures can be converted to the same form. MNIST's form is
"size normalized to fit in a 20x20 pixel box while preserving their aspect ratio", "centered in a 28x28 image by
computing the center of mass of the pixels, and translating the image so as to position this point at the center"
(Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits"; the rule of Y. LeCun et al.,
"Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86, 1998, section III.A).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.kinds.kind import Answer, Box, Kind, PartlyRead, Tensor
from pipeline.settings import Order, Settings, option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOX = 20 / 28
"""Side of the box that a digit is scaled into, as a fraction of the image's side."""

ROUNDED = 1
"""Pixels by which a digit may be smaller than the box, because its outermost pixels may be rounded to black."""

OFF_CENTRE = 0.6
"""Maximum distance in pixels of the centre of mass from the middle, because digits are moved by whole pixels."""

MEASURED = 10_000
"""Number of images from which a form is measured."""

NEARLY_ALL = 0.999
"""Fraction of the images that must agree in being light on dark, or dark on light."""

MOST = 0.9
"""Fraction of the images that must be in a box."""


PERMUTATION_SEED = 2015
"""Seed of the permutation for ``permuted``, drawn by ``numpy.random.RandomState``, whose numbers never change."""


@dataclass(frozen=True, kw_only=True)
class Images(Kind):
    """The kind and the form of images (N, H, W).

    Attributes:
        height: number of rows.
        width: number of columns.
        light_on_dark: whether the object is lighter than the background; None if that differs between the images.
        boxed: whether they have MNIST's form: scaled into a box, with the centre of mass in the middle.
    """

    name, recipe, model_input = "images", "tutorial", "pixels"
    numbers, uses_all = "numbers from 0 to 255", False

    height: int
    width: int
    light_on_dark: bool | None = None
    boxed: bool = False

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Self:
        """Return the kind of images (N, H, W)."""
        measured = np.asarray(images[:MEASURED])
        light = float(_is_light_on_dark(measured).mean())
        light_on_dark = True if light >= NEARLY_ALL else False if light <= 1 - NEARLY_ALL else None
        ink = 255 - measured if light_on_dark is False else measured
        return cls(
            height=images.shape[1],
            width=images.shape[2],
            light_on_dark=light_on_dark,
            boxed=light_on_dark is not None and bool(is_boxed(ink).mean() >= MOST),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """H and W."""
        return self.height, self.width

    def sample(self) -> NDArray[np.float32]:
        """Return a gradient and the same gradient upside down."""
        image = np.linspace(0, 255, self.height * self.width, dtype=np.float32).reshape(1, self.height, self.width)
        return np.concatenate([image, image[:, ::-1]])

    def resolved(self, settings: Settings) -> dict[str, object]:
        """Return the number of steps, and the defaults of augmentation parameters if augmentation is off.

        Raises:
            UsageError: ``steps`` does not divide the pixels of an image, or ``jitter`` is not 0.
        """
        if settings.jitter:
            raise UsageError(
                f"jitter: must be 0 for images, because it augments sequences only; got {settings.jitter:g}. "
                f"Use `{option('augmentation', 'affine')}` instead."
            )
        off = {"augmented": 1.0, "distortion": 1.0} if settings.augmentation == "none" else {}
        return {"steps": self.steps(settings), **off}

    def steps(self, settings: Settings) -> int:
        """Return the number of steps; with ``steps`` 0 one per row (or column, in that order).

        Raises:
            UsageError: ``steps`` does not divide the pixels of an image.
        """
        lines = self.width if settings.order == "columns" else self.height
        pixels = self.height * self.width
        steps = {0: lines, -1: pixels}.get(settings.steps, settings.steps)
        if pixels % steps:
            raise UsageError(
                f"steps: must divide {self.height} × {self.width} = {pixels} pixels; got {steps}. "
                f"Use 0 (or {lines}) for one step per {'column' if settings.order == 'columns' else 'row'}, -1 for one "
                "per pixel."
            )
        return steps

    def front(self, inputs: Tensor, settings: Settings) -> tuple[Any, None]:
        """Return the pixels scaled to 0 to 1, in reading order, divided into steps."""
        import keras

        steps = self.steps(settings)
        x = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
        if settings.order != "rows":
            x = keras.layers.Reshape((self.height * self.width,), name="line")(x)
            x = keras.ops.take(x, self._pixel_order(settings.order), axis=1)
        return keras.layers.Reshape((steps, self.height * self.width // steps), name="steps")(x), None

    def _pixel_order(self, order: Order) -> NDArray[np.int64]:
        """Return the indices of the pixels (H·W), counted along the rows, in reading order."""
        by_rows = np.arange(self.height * self.width).reshape(self.height, self.width)
        if order == "columns":
            by_rows = by_rows.T
        elif order == "snake":  # every other row from right to left, so that successive pixels are adjacent
            by_rows[1::2] = by_rows[1::2, ::-1].copy()
        elif order == "permuted":
            return np.random.RandomState(PERMUTATION_SEED).permutation(self.height * self.width)
        return by_rows.ravel()

    def distortions(self, settings: Settings, count: int, epoch: int) -> tuple[Tensor, ...]:
        """Return the affine transformations and displacements that ``augmentation`` requires."""
        from pipeline.kinds import augmentation

        return augmentation.drawn(settings, count, epoch, height=self.height, width=self.width)

    def distorted(self, examples: Tensor, *distortions: Tensor) -> Tensor:
        """Return the images of a batch with their distortions."""
        from pipeline.kinds import augmentation

        return augmentation.apply(examples, *distortions)

    @property
    def ratio(self) -> float:
        """Height to width."""
        return self.height / self.width

    def draw(self, axes: "Axes", example: NDArray[Any], box: Box) -> None:
        """Draw an image, dark ink on white."""
        axes.imshow(example, cmap="gray_r", vmin=0, vmax=255, extent=box)

    def partly_read(self, examples: NDArray[Any], answer: Answer, by_step: Answer | None) -> PartlyRead | None:
        """Return the answers after each step."""
        if by_step is None:
            return None
        answers = by_step(examples).argmax(axis=2)
        return PartlyRead(answers, range(1, answers.shape[1] + 1), "steps read")


def is_boxed(ink: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which images (N, H, W), light on black, have MNIST's form."""
    tall, is_central_down = _placed(ink.sum(axis=2, dtype=float))
    wide, is_central_across = _placed(ink.sum(axis=1, dtype=float))
    longest = np.maximum(tall, wide)
    fits = (longest <= BOX + 1e-9) & (longest >= BOX - ROUNDED / max(ink.shape[1:]) - 1e-9)
    return np.asarray(fits & is_central_down & is_central_across)


def edge(image: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels of images (…, H, W), (…, P)."""
    return np.concatenate([image[..., 0, :], image[..., -1, :], image[..., 1:-1, 0], image[..., 1:-1, -1]], axis=-1)


def _is_light_on_dark(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which images have an edge nearer to the darkest than to the brightest pixel."""
    middle = (images.min(axis=(1, 2)) / 2) + (images.max(axis=(1, 2)) / 2)
    return np.asarray(np.median(edge(images), axis=1) <= middle)


def _placed(profile: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return how long the ink in each profile (N, places) is, of 1, and whether its centre of mass is in the middle.

    The middle is place 14 of 28 in MNIST, counted from 0.
    """
    inked, places = profile > 0, profile.shape[1]
    behind = np.where(inked.any(axis=1), places - inked[:, ::-1].argmax(axis=1), 0)
    centre = profile @ np.arange(places) / np.maximum(profile.sum(axis=1), 1)
    return (behind - inked.argmax(axis=1)) / places, np.abs(centre - places / 2) <= OFF_CENTRE
