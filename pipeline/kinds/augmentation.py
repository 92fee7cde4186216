"""Small random rotations, shifts, changes of scale and elastic deformations of images, inside TensorFlow's graph.

    affine = random_affine(count, height=28, width=28, seed=(1, 7))                # (N, 8)
    displacements = random_displacements(count, height=28, width=28, seed=(2, 7))  # (N, G, G, 2)
    images = apply(images, tf.gather(affine, indices), tf.gather(displacements, indices))

Handwriting differs in slant, place, size and small deformations. None of these
changes the digit, and a network that sees different images in every epoch
learns to ignore them. LeCun et al. 1998 distort MNIST by affine transformations
(section III-B), Simard, Steinkraus & Platt 2003 also by smooth random fields.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from pipeline.settings import Settings

ANGLE = math.radians(10)
"""Largest rotation in either direction, in radians."""

SHIFT = 2 / 28
"""Largest shift along each axis, as a fraction of the side: 2 pixels of MNIST's 28, before the image is rotated
and scaled. Afterwards it is up to (1 + SCALE) (cos ANGLE + sin ANGLE) times as much: 2.55 pixels."""

SCALE = 0.1
"""Largest relative change of size."""

POINTS = 4
"""G: elastic deformation moves the points of a G × G grid, 7 of MNIST's pixels apart, and interpolates in between."""

DISPLACEMENT = 1.5 / 28
"""Largest displacement of each point along each axis, as a fraction of the side: 1.5 pixels of MNIST's 28."""

Seed = tuple[int, int]


def random_affine(count: int, *, height: int, width: int, seed: Seed, strength: float = 1.0) -> tf.Tensor:
    """Return a random affine transformation for each of ``count`` images, uniform within the limits.

    Args:
        count: N.
        height: height of an image, in pixels.
        width: width of an image, in pixels.
        seed: seed of the random numbers; the result depends on the arguments alone.
        strength: factor for the limits, at most 4.

    Returns:
        (N, 8) float32, each row the projective transformation a₀ … a₇ that TensorFlow's ``ImageProjectiveTransformV3``
        takes: the pixel (x, y) of the result is read at (a₀x + a₁y + a₂, a₃x + a₄y + a₅) of the image; a₆ = a₇ = 0.
    """
    angle, scale, right, down = tf.unstack(tf.random.stateless_uniform((4, count), seed, minval=-1, maxval=1))
    larger = 1 + SCALE * strength * scale
    cos, sin = tf.cos(ANGLE * strength * angle) / larger, tf.sin(ANGLE * strength * angle) / larger
    x, y = (width - 1) / 2, (height - 1) / 2  # only the shift moves the centre
    from_x = x - (cos * x - sin * y) + SHIFT * strength * width * right
    from_y = y - (sin * x + cos * y) + SHIFT * strength * height * down
    zeros = tf.zeros(count)
    return tf.stack([cos, -sin, from_x, sin, cos, from_y, zeros, zeros], axis=1)


def random_displacements(count: int, *, height: int, width: int, seed: Seed, strength: float = 1.0) -> tf.Tensor:
    """Return random displacements of the points of a grid over each of ``count`` images, uniform within the limit.

    Args:
        count: N.
        height: height of an image, in pixels.
        width: width of an image, in pixels.
        seed: seed of the random numbers; the result depends on the arguments alone.
        strength: factor for the limit, at most 4.

    Returns:
        (N, G, G, 2) float32, in pixels along x and along y.
    """
    unit = tf.random.stateless_uniform((count, POINTS, POINTS, 2), seed, minval=-1, maxval=1)
    return DISPLACEMENT * strength * tf.constant([width, height], tf.float32) * unit


_DRAWS = {"none": (), "affine": (random_affine,), "elastic": (random_affine, random_displacements)}
"""The functions that draw the distortions of each ``augmentation``, in the order of the arguments of ``apply``."""


def drawn(settings: Settings, count: int, epoch: int, *, height: int, width: int) -> tuple[tf.Tensor, ...]:
    """Return the distortions of ``count`` images in an epoch, for ``apply``; () if there are none."""
    fold, of_epoch = tf.random.experimental.stateless_fold_in, (settings.seed, epoch)
    all_drawn = tuple(
        draw(count, height=height, width=width, seed=fold(of_epoch, place), strength=settings.distortion)
        for place, draw in enumerate(_DRAWS[settings.augmentation], start=1)
    )
    if not all_drawn or settings.augmented == 1:
        return all_drawn
    return masked(all_drawn, probability=1 - settings.augmented, seed=fold(of_epoch, 0))


def masked(distortions: Sequence[tf.Tensor], *, probability: float, seed: Seed) -> tuple[tf.Tensor, ...]:
    """Return the distortions of N images, replaced by the identity for randomly chosen images.

    Args:
        distortions: results of the functions in ``_DRAWS``, each (N, …).
        probability: probability that an image stays unchanged.
        seed: seed of the choice, which depends on it and N alone.
    """
    identities = (tf.constant([1, 0, 0, 0, 1, 0, 0, 0], tf.float32), tf.constant(0.0))
    mask = tf.random.stateless_uniform((len(distortions[0]),), seed) < probability
    return tuple(
        tf.where(tf.reshape(mask, (-1, *[1] * (len(each.shape) - 1))), identity, each)
        for each, identity in zip(distortions, identities, strict=False)
    )


def apply(images: tf.Tensor, affine: tf.Tensor | None = None, displacements: tf.Tensor | None = None) -> tf.Tensor:
    """Return distorted images, interpolated bilinearly between pixels, 0 beyond the border.

    Args:
        images: (B, H, W), of any number type.
        affine: (B, 8), from ``random_affine``; None leaves the images unchanged.
        displacements: (B, G, G, 2), from ``random_displacements``: added to the point where a pixel is read, after the
            affine transformation; bicubic between the points of the grid.

    Returns:
        (B, H, W) float32; without ``affine`` the images themselves.
    """
    if affine is None:
        return images
    if displacements is None:
        return tf.raw_ops.ImageProjectiveTransformV3(  # three times as fast as _read_at
            images=tf.cast(images, tf.float32)[..., tf.newaxis],
            transforms=affine,
            output_shape=images.shape[1:],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )[..., 0]
    height, width = images.shape[1:]
    moved = tf.raw_ops.ResizeBicubic(images=displacements, size=(height, width), half_pixel_centers=True)
    x, y = tf.meshgrid(tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32))
    a = tf.reshape(affine, (-1, 8, 1, 1))
    return _read_at(
        images,
        a[:, 0] * x + a[:, 1] * y + a[:, 2] + moved[..., 0],
        a[:, 3] * x + a[:, 4] * y + a[:, 5] + moved[..., 1],
    )


def _read_at(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return the images (B, H, W) at the points (x, y), each (B, H, W) float32, interpolated bilinearly."""
    height, width = images.shape[1:]
    # A black frame of one pixel, or two at the end, where the neighbour of the last pixel is read.
    framed = tf.pad(images, [[0, 0], [1, 2], [1, 2]])
    x, y = tf.clip_by_value(x, -1, width) + 1, tf.clip_by_value(y, -1, height) + 1
    left, top = tf.floor(x), tf.floor(y)
    line = width + 3
    pixels = tf.reshape(framed, (-1, (height + 3) * line))
    corner = tf.cast(top, tf.int32) * line + tf.cast(left, tf.int32)

    def neighbour(offset: int) -> tf.Tensor:
        return tf.cast(tf.gather(pixels, corner + offset, batch_dims=1), tf.float32)

    upper = neighbour(0) + (x - left) * (neighbour(1) - neighbour(0))
    lower = neighbour(line) + (x - left) * (neighbour(line + 1) - neighbour(line))
    return upper + (y - top) * (lower - upper)
