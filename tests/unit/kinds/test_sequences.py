"""Sequences as a kind of example: scaling, padding, noise, drawing and description."""

import json
from io import BytesIO
from typing import Any

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from pipeline.errors import DataError, UsageError
from pipeline.kinds import known
from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.kinds.sequences import Sequences
from pipeline.settings import Settings

NAN = float("nan")

EXAMPLES = np.array([[[1, 10], [3, 10], [NAN, NAN]], [[5, 40], [NAN, NAN], [NAN, NAN]]], np.float32)
"""Two sequences with two features: one has two steps, the other one step."""


@pytest.fixture
def kind() -> Kind:
    return known.of(EXAMPLES, ("x", "y"))


def test_mean_and_variance_are_of_the_real_steps(kind: Kind) -> None:
    """By hand: 1, 3, 5 have mean 3 and variance 8/3; 10, 10, 40 have mean 20 and variance 200."""
    assert Sequences(longest=3, features=("x", "y"), mean=(3, 20), variance=(8 / 3, 200)) == kind
    assert kind == known.restored("sequences", json.loads(json.dumps(vars(kind))))


def test_the_front_of_a_network_scales_real_steps_and_masks_the_others(kind: Kind) -> None:
    inputs = keras.Input(kind.shape)
    steps, mask = keras.Model(inputs, kind.front(inputs, Settings()))(EXAMPLES)

    assert [[True, True, False], [True, False, False]] == mask.numpy().tolist()
    expected: Any = [[[-1.2247, -0.7071], [0, -0.7071], [0, 0]], [[1.2247, 1.4142], [0, 0], [0, 0]]]
    np.testing.assert_allclose(steps, expected, atol=1e-4)
    lengths = kind.lengths(EXAMPLES)
    assert lengths is not None
    assert [2, 1] == lengths.numpy().tolist()


def test_jitter_is_relative_to_each_feature_and_independent_of_padding(kind: Kind) -> None:
    settings = Settings.of({"jitter": 0.5, "seed": 3})
    (noise,) = kind.distortions(settings, 2_000, 7)
    np.testing.assert_allclose(noise.numpy().std(axis=(0, 1)), 0.5 * np.sqrt([8 / 3, 200]), rtol=0.05)
    longer = known.of(np.pad(EXAMPLES, ((0, 0), (0, 4), (0, 0)), constant_values=NAN), ("x", "y"))
    np.testing.assert_array_equal(longer.distortions(settings, 2_000, 7)[0][:, :3], noise)
    np.testing.assert_allclose(kind.distorted(EXAMPLES, noise[:2]), EXAMPLES + noise[:2].numpy(), rtol=1e-6)
    assert () == kind.distortions(Settings(), 2_000, 7)


@pytest.mark.parametrize(("name", "value"), [("augmentation", "affine"), ("order", "columns"), ("steps", 4)])
def test_parameters_of_images_are_refused_with_what_to_do(kind: Kind, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name}: must be .* for sequences; got {value}, which is for images"):
        kind.resolved(Settings.of({name: value}))
    assert 3 == kind.resolved(Settings())["steps"]


@pytest.mark.parametrize("wrong", [[[1.0, 2.0]], [[[1.0, 2.0, 3.0]]], [[["a", "b"]]], [[[1, 2]], [[1, 2], [3, 4]]]])
def test_arrays_of_another_shape_are_refused(kind: Kind, wrong: Any) -> None:
    with pytest.raises(DataError, match=r"^sequences: must be numbers, .*, of the shape \(N, steps, 2\); got"):
        kind.checked(wrong)


def test_sequences_are_read_in_part_by_tenths_of_their_own_length_and_images_step_by_step(kind: Kind) -> None:
    def count(sequences: NDArray[Any]) -> NDArray[np.float32]:
        """Answer with the number of real steps."""
        return np.asarray(np.eye(21)[(~np.isnan(sequences[..., 0])).sum(axis=1)], np.float32)

    examples = np.full((2, 20, 2), NAN, np.float32)
    examples[0], examples[1, :5] = 1, 1
    tenths = kind.partly_read(examples, count, None)
    images = Images(height=3, width=4)
    steps = images.partly_read(
        np.zeros((2, 3, 4)), count, lambda images: np.tile(np.eye(3, dtype=np.float32), (2, 1, 1))
    )
    assert tenths is not None
    assert steps is not None
    assert [[2, 4, 6, 8, 10, 12, 14, 16, 18, 20], [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]] == tenths.answers.tolist()
    assert ([10, 100], [1, 2, 3]) == ([tenths.read[0], tenths.read[-1]], [*steps.read])
    assert [[0, 1, 2]] * 2 == steps.answers.tolist()
    assert images.partly_read(np.zeros((2, 3, 4)), count, None) is None


def test_a_sequence_is_drawn_with_a_line_for_each_feature(kind: Kind) -> None:
    """Ink from the left to the right edge: the lines of two steps, in at least two colours."""
    pixels = imread(BytesIO(kind.png(EXAMPLES[0])))[..., :3]
    inked: NDArray[np.bool_] = np.any(pixels < 0.95, axis=2)
    assert inked[:, 1].any()
    assert inked[:, -2].any()
    assert 1 < len({tuple(colour) for colour in np.round(pixels[inked], 1).tolist()})
