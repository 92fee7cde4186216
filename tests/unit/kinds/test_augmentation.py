"""Augmentation, compared with scipy and Pillow; its limits, computed from the points that are read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, map_coordinates

from pipeline.kinds import augmentation
from pipeline.settings import Settings

Array = NDArray[Any]


def images(height: int = 9, width: int = 7) -> Array:
    return np.random.default_rng(0).integers(0, 256, (4, height, width), dtype=np.uint8)


def draw(function: Callable[..., tf.Tensor], count: int = 1_000, side: int = 28, **options: Any) -> Array:
    return np.asarray(function(count, **{"height": side, "width": side, "seed": (1, 1)} | options))


def read_at(row: Array, x: Any, y: Any) -> Array:
    """Return the point that the pixel (x, y) of the result is read from, by the definition of the eight numbers."""
    a = [float(value) for value in row]
    return np.array([a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]])


def limits(side: int, strength: float) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest angle, scale, shift, and displacement of the centre of the image."""
    rows, centre = draw(augmentation.random_affine, 2_000, side, strength=strength), (side - 1) / 2
    shifts = np.array([read_at(row, centre, centre) for row in rows]) - centre
    matrices = rows[:, [[0, 1], [3, 4]]].astype(float)
    turned = matrices[:, 0, 0] + 1j * matrices[:, 1, 0]
    moved = np.linalg.solve(matrices, -shifts[..., np.newaxis])
    values = {"angle": np.degrees(np.angle(turned)), "scale": 1 / np.abs(turned), "shift": shifts, "moved": moved}
    return {name: (float(each.min()), float(each.max())) for name, each in values.items()}


@pytest.mark.parametrize(
    ("side", "strength", "angle", "scale", "shift"),
    [(28, 1, 10, 0.1, 2), (28, 0.5, 5, 0.05, 1), (28, 4, 40, 0.4, 8), (8, 1, 10, 0.1, 2 * 8 / 28)],
)
def test_the_limits_are_ten_degrees_a_tenth_and_two_pixels_of_28_times_the_strength(
    side: int, strength: float, angle: float, scale: float, shift: float
) -> None:
    """By hand: rotated and scaled, a shift of s along both axes is at most (1 + scale) (cos + sin) s: 2.55 for 2."""
    radians = np.radians(angle)
    moved = (1 + scale) * (np.cos(radians) + np.sin(radians)) * shift
    found = limits(side, strength)
    for name, limit in {"angle": angle, "scale": scale, "shift": shift}.items():
        low, high = found[name] - np.array(name == "scale")
        np.testing.assert_allclose((low, high), (-limit, limit), rtol=0.02)
        assert -1.0001 * limit <= low <= high <= 1.0001 * limit
    assert 0.85 * moved < max(np.abs(found["moved"])) <= 1.0001 * moved


def test_images_are_interpolated_as_scipy_does() -> None:
    rows = draw(augmentation.random_affine, 4, height=9, width=7)
    actual = augmentation.apply(tf.constant(images()), tf.constant(rows))
    for image, row, result in zip(images(), rows, actual, strict=True):
        matrix, offset = [[row[4], row[3]], [row[1], row[0]]], [row[5], row[2]]  # scipy's order is (y, x)
        expected = affine_transform(image.astype(float), matrix, offset, order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(result, expected, atol=0.01)


def test_images_are_deformed_as_pillow_and_scipy_do() -> None:
    shape = {"height": 28, "width": 20}
    fields, rows = 3 * draw(augmentation.random_displacements, 4, **shape), draw(augmentation.random_affine, 4, **shape)
    shown = images(28, 20)
    actual = augmentation.apply(tf.constant(shown), tf.constant(rows), tf.constant(fields))
    down, right = np.mgrid[0:28, 0:20]
    for image, row, field, result in zip(shown, rows, fields, actual, strict=True):
        along = [
            np.asarray(Image.fromarray(part).resize((20, 28), Image.Resampling.BICUBIC))
            for part in np.moveaxis(field, 2, 0)
        ]
        x, y = read_at(row, right, down) + np.array(along)
        expected = map_coordinates(image.astype(float), [y, x], order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(result, expected, atol=1)  # of 255; TensorFlow reads bicubic weights from a table


@pytest.mark.parametrize(("side", "strength", "limit"), [(28, 1, 1.5), (28, 2, 3), (8, 1, 1.5 * 8 / 28)])
def test_the_points_of_a_grid_are_moved_by_up_to_a_pixel_and_a_half_of_28(
    side: int, strength: float, limit: float
) -> None:
    moved = draw(augmentation.random_displacements, side=side, strength=strength)
    assert (1_000, 4, 4, 2) == moved.shape
    assert 0.99 * limit < np.abs(moved).max() <= limit + 1e-6
    assert pytest.approx(0, abs=0.04) == moved.mean()


@pytest.mark.parametrize("function", [augmentation.random_affine, augmentation.random_displacements])
def test_the_seed_alone_decides_and_each_image_is_distorted_differently(function: Callable[..., tf.Tensor]) -> None:
    first = draw(function, seed=(3, 4))
    np.testing.assert_array_equal(first, draw(function, seed=(3, 4)))
    assert not np.array_equal(first, draw(function, seed=(3, 5)))
    assert 1_000 == len(np.unique(first.reshape(1_000, -1), axis=0))


@pytest.mark.parametrize("kind", ["affine", "elastic"])
def test_a_random_fraction_of_the_images_is_unchanged(kind: str) -> None:
    count, shown = 2_000, np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    repeated = tf.repeat(tf.constant(shown), count, axis=0)
    drawn = augmentation.drawn(Settings.of({"augmentation": kind}), count, 7, height=28, width=28)
    everywhere, kept = augmentation.apply(repeated, *drawn), []
    for seed in ((1, 0), (1, 0), (2, 0)):
        distorted = augmentation.apply(repeated, *augmentation.masked(drawn, probability=0.25, seed=seed))
        kept.append((np.asarray(distorted) == shown).all(axis=(1, 2)))
        np.testing.assert_array_equal(distorted[~kept[-1]], everywhere[~kept[-1]])

    np.testing.assert_array_equal(kept[0], kept[1])
    assert (kept[0] != kept[2]).any()
    assert 0.2 < kept[0].mean() < 0.3  # 0.25 ± 5 standard deviations of 0.0097
