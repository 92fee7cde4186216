"""Small random turns, shifts, changes of scale and bends of images, inside TensorFlow's graph.

    affine = random_affine(count, height=28, width=28, seed=(1, 7))    # (N, 8)
    bends = random_bends(count, height=28, width=28, seed=(2, 7))      # (N, G, G, 2)
    images = apply(images, tf.gather(affine, indices), tf.gather(bends, indices))

Handwriting differs in slant, place and size, and in how a hand trembles; none
of these changes the digit, and a network that sees each image anew in every
epoch learns as much. LeCun et al. 1998 distort MNIST by the first (section
III-B), Simard, Steinkraus & Platt 2003 by smooth random fields too.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

ANGLE = math.radians(10)
"""An image is turned by at most this much either way, in radians."""

SHIFT = 2 / 28
"""It is shifted by at most this fraction of its side along each axis: 2 pixels of MNIST's 28."""

SCALE = 0.1
"""It is made larger or smaller by at most this fraction."""

POINTS = 4
"""G: a bend moves a grid of so many points a side, 7 of MNIST's pixels apart, and what lies between them smoothly."""

BEND = 1.5 / 28
"""Each point is moved by at most this fraction of the image's side along each axis: 1.5 pixels of MNIST's 28."""

Seed = tuple[int, int]


def random_affine(count: int, *, height: int, width: int, seed: Seed, strength: float = 1.0) -> tf.Tensor:
    """Return a random affine transformation about the centre for each of ``count`` images, uniform within the limits.

    Args:
        count: N.
        height: of an image, in pixels.
        width: of an image, in pixels.
        seed: the result is a function of it and the other arguments alone.
        strength: a factor on the limits, at most 4.

    Returns:
        (N, 8) float32, each row the projective transformation a₀ … a₇ that TensorFlow's ``ImageProjectiveTransformV3``
        takes: the pixel (x, y) of the result is read at (a₀x + a₁y + a₂, a₃x + a₄y + a₅) of the image; a₆ = a₇ = 0.
    """
    angle, scale, right, down = tf.unstack(tf.random.stateless_uniform((4, count), seed, minval=-1, maxval=1))
    larger = 1 + SCALE * strength * scale
    cos, sin = tf.cos(ANGLE * strength * angle) / larger, tf.sin(ANGLE * strength * angle) / larger
    x, y = (width - 1) / 2, (height - 1) / 2  # the centre stays where it is but for the shift
    from_x = x - (cos * x - sin * y) + SHIFT * strength * width * right
    from_y = y - (sin * x + cos * y) + SHIFT * strength * height * down
    zeros = tf.zeros(count)
    return tf.stack([cos, -sin, from_x, sin, cos, from_y, zeros, zeros], axis=1)


def random_bends(count: int, *, height: int, width: int, seed: Seed, strength: float = 1.0) -> tf.Tensor:
    """Return how far the points of a grid over each of ``count`` images are moved, uniform within the limit.

    Args:
        count: N.
        height: of an image, in pixels.
        width: of an image, in pixels.
        seed: the result is a function of it and the other arguments alone.
        strength: a factor on the limits, at most 4.

    Returns:
        (N, G, G, 2) float32, in pixels along x and along y.
    """
    unit = tf.random.stateless_uniform((count, POINTS, POINTS, 2), seed, minval=-1, maxval=1)
    return BEND * strength * tf.constant([width, height], tf.float32) * unit


DRAWS = {"none": (), "affine": (random_affine,), "elastic": (random_affine, random_bends)}
"""By the parameter ``augmentation``: what is drawn for each image, in the order in which ``apply`` takes it."""


def spare(distortions: Sequence[tf.Tensor], *, part: float, seed: Seed) -> tuple[tf.Tensor, ...]:
    """Return distortions of N images, a random ``part`` of them replaced by those that leave an image as it is.

    Args:
        distortions: what ``DRAWS`` gives, each (N, …).
        part: a probability, of each image by itself.
        seed: the choice is a function of it and N alone.
    """
    nothing = (tf.constant([1, 0, 0, 0, 1, 0, 0, 0], tf.float32), tf.constant(0.0))
    spared = tf.random.stateless_uniform((len(distortions[0]),), seed) < part
    return tuple(
        tf.where(tf.reshape(spared, (-1, *[1] * (len(each.shape) - 1))), none, each)
        for each, none in zip(distortions, nothing, strict=False)
    )


def apply(images: tf.Tensor, affine: tf.Tensor | None = None, bends: tf.Tensor | None = None) -> tf.Tensor:
    """Return distorted images, between pixels interpolated bilinearly, beyond the border 0.

    Args:
        images: (B, H, W), of any number type.
        affine: (B, 8), as ``random_affine`` gives them; None leaves the images as they are.
        bends: (B, G, G, 2), as ``random_bends`` gives them: where a pixel is read after the affine transformation, it
            is read so much to the right and further down. Between the points of the grid bicubic.

    Returns:
        (B, H, W) float32; without ``affine`` the images themselves.
    """
    if affine is None:
        return images
    if bends is None:
        return _transformed(images, affine)
    height, width = images.shape[1:]
    moved = tf.raw_ops.ResizeBicubic(images=bends, size=(height, width), half_pixel_centers=True)
    x, y = tf.meshgrid(tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32))
    a = tf.reshape(affine, (-1, 8, 1, 1))
    return _read_at(
        images,
        a[:, 0] * x + a[:, 1] * y + a[:, 2] + moved[..., 0],
        a[:, 3] * x + a[:, 4] * y + a[:, 5] + moved[..., 1],
    )


def _transformed(images: tf.Tensor, affine: tf.Tensor) -> tf.Tensor:
    """Return images after the transformation alone, by TensorFlow's own operation: three times as fast."""
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32)[..., tf.newaxis],
        transforms=affine,
        output_shape=images.shape[1:],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return transformed[..., 0]


def _read_at(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return what the images (B, H, W) show at the points (x, y), each (B, H, W) float32, between pixels too."""
    height, width = images.shape[1:]
    # A black frame of one pixel, of two where the neighbour of the last one is looked at: all beyond is black, too.
    framed = tf.pad(images, [[0, 0], [1, 2], [1, 2]])
    x, y = tf.clip_by_value(x, -1, width) + 1, tf.clip_by_value(y, -1, height) + 1
    left, top = tf.floor(x), tf.floor(y)
    line = width + 3
    pixels = tf.reshape(framed, (-1, (height + 3) * line))
    corner = tf.cast(top, tf.int32) * line + tf.cast(left, tf.int32)

    def beside(offset: int) -> tf.Tensor:
        return tf.cast(tf.gather(pixels, corner + offset, batch_dims=1), tf.float32)

    upper = beside(0) + (x - left) * (beside(1) - beside(0))
    lower = beside(line) + (x - left) * (beside(line + 1) - beside(line))
    return upper + (y - top) * (lower - upper)
