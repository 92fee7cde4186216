import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from pipeline.data import idx
from pipeline.kinds import images as image_form
from pipeline.kinds import known
from pipeline.kinds.images import Images


@pytest.fixture(scope="module")
def images(mnist_folder: Path) -> NDArray[np.uint8]:
    return idx.read(gzip.decompress((mnist_folder / "t10k-images-idx3-ubyte.gz").read_bytes()), name="images")


def test_mnists_images_are_light_on_dark_and_in_its_box(images: NDArray[np.uint8]) -> None:
    assert Images(height=28, width=28, light_on_dark=True, boxed=True) == Images.of(images)
    assert 10_000 == image_form.is_boxed(images).sum()


def test_inverted_they_are_dark_on_light_and_in_its_box(images: NDArray[np.uint8]) -> None:
    assert Images(height=28, width=28, light_on_dark=False, boxed=True) == Images.of(255 - images)


def test_of_both_kinds_none_is_said(images: NDArray[np.uint8]) -> None:
    both = np.concatenate([images[:50], 255 - images[50:100]])
    assert Images(height=28, width=28, light_on_dark=None, boxed=False) == Images.of(both)


@pytest.mark.parametrize("change", ["moved", "smaller", "noisy"])
def test_what_is_not_in_the_box_is_known(images: NDArray[np.uint8], change: str) -> None:
    changed = images[:100].copy()
    if change == "moved":
        changed = np.roll(changed, 3, axis=2)
    elif change == "smaller":
        changed = np.pad(changed[:, ::2, ::2], ((0, 0), (7, 7), (7, 7)))
    else:
        changed[:, 1, 1] = 40
    assert Images(height=28, width=28, light_on_dark=True, boxed=False) == Images.of(changed)


def test_the_digits_of_scikit_learn_are_light_on_dark_without_a_box() -> None:
    digits = (load_digits().images * 15).astype(np.uint8)
    assert Images(height=8, width=8, light_on_dark=True, boxed=False) == Images.of(digits)


def test_a_description_restores_it() -> None:
    form = Images(height=6, width=9, light_on_dark=None, boxed=True)
    assert form == known.restored("images", form.description())
