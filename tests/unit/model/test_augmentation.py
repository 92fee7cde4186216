"""Augmentation: its pictures against scipy's and Pillow's, its limits by where single points are read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, map_coordinates

from pipeline.model import augmentation

Array = NDArray[Any]
IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0]


def images(count: int = 4, height: int = 9, width: int = 7) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, height, width), dtype=np.uint8)


def transforms(count: int = 1_000, height: int = 28, width: int = 28, seed: tuple[int, int] = (1, 1)) -> Array:
    return np.asarray(augmentation.random_affine(count, height=height, width=width, seed=seed))


def bends(count: int = 1_000, height: int = 28, width: int = 28, seed: tuple[int, int] = (1, 1)) -> Array:
    return np.asarray(augmentation.random_displacements(count, height=height, width=width, seed=seed))


def read_at(row: Array, x: float, y: float) -> Array:
    """Where the pixel (x, y) of a transformed image is read, by the definition of the eight numbers."""
    a = [float(value) for value in row]
    return np.array([a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]]) / (a[6] * x + a[7] * y + 1)


def test_the_identity_changes_nothing() -> None:
    same = augmentation.apply(tf.constant(images()), tf.constant([IDENTITY] * 4, tf.float32))
    np.testing.assert_array_equal(images(), same)


def test_a_shift_by_one_pixel_moves_all_pixels_and_fills_up_with_black() -> None:
    shifted = augmentation.apply(tf.constant(images()), tf.constant([[1, 0, 1, 0, 1, 0, 0, 0]] * 4, tf.float32))
    np.testing.assert_array_equal(images()[:, :, 1:], shifted[:, :, :-1])
    np.testing.assert_array_equal(0, shifted[:, :, -1])


def test_images_are_interpolated_as_scipy_does() -> None:
    rows = transforms(count=4, height=9, width=7)
    actual = augmentation.apply(tf.constant(images()), tf.constant(rows))
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


@pytest.mark.parametrize("draw", [augmentation.random_affine, augmentation.random_displacements])
def test_a_strength_is_a_factor_on_the_limits(draw: Callable[..., tf.Tensor]) -> None:
    """The same random numbers, stretched: angles, scales, shifts and bends."""
    one, half = (np.asarray(draw(200, height=28, width=28, seed=(1, 1), strength=by)) for by in (1, 0.5))
    if draw is augmentation.random_displacements:
        np.testing.assert_allclose(half, one / 2, rtol=1e-6)
        return
    (angles, scales), (half_angles, half_scales) = (
        (np.angle(rows[:, 0] + 1j * rows[:, 3]), 1 / np.hypot(rows[:, 0], rows[:, 3]) - 1) for rows in (one, half)
    )
    np.testing.assert_allclose(half_angles, angles / 2, atol=1e-6)
    np.testing.assert_allclose(half_scales, scales / 2, atol=1e-6)
    shifts, half_shifts = (np.array([read_at(row, 13.5, 13.5) - 13.5 for row in rows]) for rows in (one, half))
    np.testing.assert_allclose(half_shifts, shifts / 2, atol=1e-5)


def test_a_turn_keeps_right_angles() -> None:
    for row in transforms(10):
        origin, right, down = read_at(row, 0, 0), read_at(row, 1, 0), read_at(row, 0, 1)
        assert pytest.approx(0, abs=1e-5) == (right - origin) @ (down - origin)
        assert pytest.approx(np.linalg.norm(right - origin), rel=1e-4) == np.linalg.norm(down - origin)


def test_a_smaller_image_is_shifted_by_less() -> None:
    shifts = np.array([read_at(row, 3.5, 3.5) for row in transforms(height=8, width=8)]) - 3.5
    assert 0.5 < np.abs(shifts).max() <= 2 * 8 / 28 + 1e-4


def test_without_a_distortion_images_stay_as_they_are() -> None:
    assert images().dtype == augmentation.apply(tf.constant(images())).dtype.as_numpy_dtype
    np.testing.assert_array_equal(images(), augmentation.apply(tf.constant(images())))


def test_bends_of_nothing_leave_what_was_transformed() -> None:
    rows = tf.constant(transforms(count=4, height=9, width=7))
    straight, bent = (
        augmentation.apply(tf.constant(images()), rows, *more) for more in ((), (tf.zeros((4, 4, 4, 2)),))
    )
    np.testing.assert_allclose(straight, bent, atol=0.01)


def test_images_are_bent_as_pillow_and_scipy_do() -> None:
    fields, rows = 3 * bends(count=4, height=28, width=20), transforms(count=4, height=28, width=20)
    shown = images(height=28, width=20)
    actual = augmentation.apply(tf.constant(shown), tf.constant(rows), tf.constant(fields))
    down, right = np.mgrid[0:28, 0:20]
    for image, row, field, result in zip(shown, rows, fields, actual, strict=True):
        along = [
            np.asarray(Image.fromarray(part).resize((20, 28), Image.Resampling.BICUBIC))
            for part in np.moveaxis(field, 2, 0)
        ]
        x, y = (at + np.asarray(moved) for at, moved in zip(read_at_all(row, right, down), along, strict=True))
        expected = map_coordinates(image.astype(float), [y, x], order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(result, expected, atol=1)  # of 255: TensorFlow looks bicubic weights up in a table


def read_at_all(row: Array, x: Array, y: Array) -> tuple[Array, Array]:
    a = [float(value) for value in row]
    return a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]


def test_the_points_of_a_grid_are_moved_by_up_to_a_pixel_and_a_half_of_28() -> None:
    for side, limit in ((28, 1.5), (8, 1.5 * 8 / 28)):
        moved = bends(height=side, width=side)
        assert (1_000, 4, 4, 2) == moved.shape
        assert 0.99 * limit < np.abs(moved).max() <= limit + 1e-6
        assert pytest.approx(0, abs=0.02) == moved.mean()


def test_every_image_is_distorted_in_its_own_way() -> None:
    assert len(transforms(500)) == len(np.unique(transforms(500), axis=0))
    assert len(bends(500)) == len(np.unique(bends(500).reshape(500, -1), axis=0))


@pytest.mark.parametrize("draw", [transforms, bends])
def test_the_seed_alone_settles_the_distortions(draw: Callable[..., Array]) -> None:
    np.testing.assert_array_equal(draw(seed=(3, 4)), draw(seed=(3, 4)))
    assert not np.array_equal(draw(seed=(3, 4)), draw(seed=(3, 5)))


def test_the_brightness_of_what_lies_in_the_middle_is_kept_on_average() -> None:
    dots = np.zeros((1_000, 28, 28), np.uint8)
    dots[:, 10:18, 10:18] = 200
    transformed = augmentation.apply(tf.constant(dots), tf.constant(transforms()))
    # Scaled by s, an area grows by s², whose mean over s from 0.9 to 1.1 is 1 + 0.1²/3.
    assert pytest.approx(dots.mean() * (1 + 0.01 / 3), rel=0.01) == float(tf.reduce_mean(transformed))


@pytest.mark.parametrize("kind", ["affine", "elastic"])
def test_a_part_of_the_images_is_left_as_it_is_others_for_another_seed(kind: str) -> None:
    count, shown = 2_000, np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    drawn = [draw(count, height=28, width=28, seed=(1, 7)) for draw in augmentation.DRAWS[kind]]

    left = []
    for seed in ((1, 0), (1, 0), (2, 0)):
        spared = augmentation.masked(drawn, probability=0.25, seed=seed)
        distorted = augmentation.apply(tf.repeat(tf.constant(shown), count, axis=0), *spared)
        left.append((np.asarray(distorted) == shown).all(axis=(1, 2)))
        whole = augmentation.apply(tf.repeat(tf.constant(shown), count, axis=0), *drawn)
        np.testing.assert_array_equal(distorted[~left[-1]], whole[~left[-1]])

    np.testing.assert_array_equal(left[0], left[1])
    assert (left[0] != left[2]).any()
    assert 0.2 < left[0].mean() < 0.3  # 0.25, by 5 standard deviations of 0.0097
