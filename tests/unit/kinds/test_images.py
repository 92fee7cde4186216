from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.datasets import read_idx
from pipeline.kinds.images import Images

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def images(mnist_folder: Path) -> Pixels:
    return read_idx((mnist_folder / "t10k-images-idx3-ubyte.gz").read_bytes(), name="images", kind="images")


@pytest.mark.parametrize(
    ("change", "light_on_dark", "boxed"),
    [
        (lambda images: images, True, True),
        (lambda images: 255 - images, False, True),
        (lambda images: np.concatenate([images[:50], 255 - images[50:100]]), None, False),
        (lambda images: np.roll(images[:100], 3, axis=2), True, False),
        (lambda images: np.pad(images[:100, ::2, ::2], ((0, 0), (7, 7), (7, 7))), True, False),
        (lambda images: np.where(np.arange(784).reshape(28, 28) == 29, 40, images[:100]), True, False),
    ],
    ids=["mnist", "inverted", "both", "moved", "smaller", "noisy"],
)
def test_the_form_of_images_is_measured(
    images: Pixels, change: Callable[[Pixels], Pixels], light_on_dark: bool | None, boxed: bool
) -> None:
    assert Images(height=28, width=28, light_on_dark=light_on_dark, boxed=boxed) == Images.of(change(images))
