"""The answers of a loaded model after each step, a few images at a time."""

from typing import Any

import numpy as np
import pytest

from pipeline.kinds.images import Images
from pipeline.tracking import models
from pipeline.tracking.models import BY_STEP, Classifier

ROWS, COLUMNS = 4, 3


@pytest.mark.parametrize(("at_once", "most"), [(2, 1), (4, 1), (8, 2), (100, 5)])
def test_the_more_steps_the_fewer_images_pass_at_a_time(
    monkeypatch: pytest.MonkeyPatch, at_once: int, most: int
) -> None:
    passed: list[int] = []

    def step_by_step(pixels: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        passed.append(len(pixels))
        return {BY_STEP: np.cumsum(pixels, axis=1)}  # (N, T = rows, C = columns)

    monkeypatch.setattr(models, "AT_ONCE_BY_STEP", at_once)
    model: Any = None
    own = Classifier(
        model, dataset="d", class_names="abc", kind=Images(height=ROWS, width=COLUMNS), step_by_step=step_by_step
    )
    images = np.arange(5 * ROWS * COLUMNS, dtype=np.uint8).reshape(5, ROWS, COLUMNS)

    np.testing.assert_array_equal(np.cumsum(images, axis=1), own.by_step(images))
    assert [1] + [most] * (5 // most) + [5 % most] * bool(5 % most) == passed
