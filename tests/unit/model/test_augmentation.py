"""Affine augmentation: its pictures against scipy's, its limits by where single points are read."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from pipeline.model import augmentation

Array = NDArray[Any]
IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0]


def images(count: int = 4, height: int = 9, width: int = 7) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, height, width), dtype=np.uint8)


def transforms(count: int = 1_000, height: int = 28, width: int = 28, seed: tuple[int, int] = (1, 1)) -> Array:
    return np.asarray(augmentation.random_affine(count, height=height, width=width, seed=seed))


def read_at(row: Array, x: float, y: float) -> Array:
    """Where the pixel (x, y) of a transformed image is read, by the definition of the eight numbers."""
    a = [float(value) for value in row]
    return np.array([a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]]) / (a[6] * x + a[7] * y + 1)


def test_the_identity_changes_nothing() -> None:
    same = augmentation.apply_affine(tf.constant(images()), tf.constant([IDENTITY] * 4, tf.float32))
    np.testing.assert_array_equal(images(), same)


def test_a_shift_by_one_pixel_moves_all_pixels_and_fills_up_with_black() -> None:
    shifted = augmentation.apply_affine(tf.constant(images()), tf.constant([[1, 0, 1, 0, 1, 0, 0, 0]] * 4, tf.float32))
    np.testing.assert_array_equal(images()[:, :, 1:], shifted[:, :, :-1])
    np.testing.assert_array_equal(0, shifted[:, :, -1])


def test_images_are_interpolated_as_scipy_does() -> None:
    rows = transforms(count=4, height=9, width=7)
    actual = augmentation.apply_affine(tf.constant(images()), tf.constant(rows))
    for image, row, result in zip(images(), rows, actual, strict=True):
        matrix, offset = [[row[4], row[3]], [row[1], row[0]]], [row[5], row[2]]  # scipy counts (y, x)
        expected = affine_transform(image.astype(float), matrix, offset, order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(result, expected, atol=0.01)


def test_the_limits_are_ten_degrees_a_tenth_and_two_pixels_of_28() -> None:
    rows = transforms()
    turned_and_scaled = rows[:, 0] + 1j * rows[:, 3]
    angles, scales = np.degrees(np.angle(turned_and_scaled)), 1 / np.abs(turned_and_scaled)
    shifts = np.array([read_at(row, 13.5, 13.5) for row in rows]) - 13.5  # the centre of 28 pixels, 0 to 27
    for values, low, high in [(angles, -10, 10), (scales, 0.9, 1.1), (shifts, -2, 2)]:
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-4


def test_a_turn_keeps_right_angles() -> None:
    for row in transforms(10):
        origin, right, down = read_at(row, 0, 0), read_at(row, 1, 0), read_at(row, 0, 1)
        assert pytest.approx(0, abs=1e-5) == (right - origin) @ (down - origin)
        assert pytest.approx(np.linalg.norm(right - origin), rel=1e-4) == np.linalg.norm(down - origin)


def test_a_smaller_image_is_shifted_by_less() -> None:
    shifts = np.array([read_at(row, 3.5, 3.5) for row in transforms(height=8, width=8)]) - 3.5
    assert 0.5 < np.abs(shifts).max() <= 2 * 8 / 28 + 1e-4


def test_every_image_is_transformed_in_its_own_way() -> None:
    assert len(transforms(500)) == len(np.unique(transforms(500), axis=0))


def test_the_seed_alone_settles_the_transformations() -> None:
    np.testing.assert_array_equal(transforms(seed=(3, 4)), transforms(seed=(3, 4)))
    assert not np.array_equal(transforms(seed=(3, 4)), transforms(seed=(3, 5)))


def test_the_brightness_of_what_lies_in_the_middle_is_kept_on_average() -> None:
    dots = np.zeros((1_000, 28, 28), np.uint8)
    dots[:, 10:18, 10:18] = 200
    transformed = augmentation.apply_affine(tf.constant(dots), tf.constant(transforms()))
    # Scaled by s, an area grows by s², whose mean over s from 0.9 to 1.1 is 1 + 0.1²/3.
    assert pytest.approx(dots.mean() * (1 + 0.01 / 3), rel=0.01) == float(tf.reduce_mean(transformed))
