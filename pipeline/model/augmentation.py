"""Small random turns, shifts and changes of scale of images, inside TensorFlow's graph.

    transforms = random_affine(count, height=28, width=28, seed=(1, 7))    # (N, 8)
    images = apply_affine(images, tf.gather(transforms, indices))          # (B, H, W)

Handwriting differs in slant, place and size, and none of these changes the
digit; a network that sees each image anew in every epoch learns as much. LeCun
et al. 1998 distort MNIST this way (section III-B).
"""

import math

import tensorflow as tf

ANGLE = math.radians(10)
"""An image is turned by at most this much either way, in radians."""

SHIFT = 2 / 28
"""It is shifted by at most this fraction of its side along each axis: 2 pixels of MNIST's 28."""

SCALE = 0.1
"""It is made larger or smaller by at most this fraction."""

Seed = tuple[int, int]


def random_affine(count: int, *, height: int, width: int, seed: Seed) -> tf.Tensor:
    """Return a random affine transformation about the centre for each of ``count`` images, uniform within the limits.

    Args:
        count: N.
        height: of an image, in pixels.
        width: of an image, in pixels.
        seed: the result is a function of it, ``count`` and the size alone.

    Returns:
        (N, 8) float32, each row the projective transformation a₀ … a₇ that TensorFlow's ``ImageProjectiveTransformV3``
        takes: the pixel (x, y) of the result is read at (a₀x + a₁y + a₂, a₃x + a₄y + a₅) of the image; a₆ = a₇ = 0.
    """
    angle, scale, right, down = tf.unstack(tf.random.stateless_uniform((4, count), seed, minval=-1, maxval=1))
    cos = tf.cos(ANGLE * angle) / (1 + SCALE * scale)
    sin = tf.sin(ANGLE * angle) / (1 + SCALE * scale)
    x, y = (width - 1) / 2, (height - 1) / 2  # the centre stays where it is but for the shift
    from_x = x - (cos * x - sin * y) + SHIFT * width * right
    from_y = y - (sin * x + cos * y) + SHIFT * height * down
    zeros = tf.zeros(count)
    return tf.stack([cos, -sin, from_x, sin, cos, from_y, zeros, zeros], axis=1)


def apply_affine(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Return transformed images, between pixels interpolated bilinearly, beyond the border 0.

    Args:
        images: (B, H, W), of any number type.
        transforms: (B, 8), as ``random_affine`` gives them.

    Returns:
        (B, H, W) float32.
    """
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32)[..., tf.newaxis],
        transforms=transforms,
        output_shape=images.shape[1:],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return transformed[..., 0]
