"""Real digits, scribbles, crossed lines, and an empty image."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.data.datasets import CATALOGUE, read_idx
from pipeline.kinds.images import Images
from pipeline.serving import digit_segmentation, out_of_distribution
from pipeline.serving.out_of_distribution import Similarity
from pipeline.tracking.models import Classifier

Pixels = NDArray[np.uint8]
MNIST = Images(height=28, width=28, light_on_dark=True, boxed=True)
DIGITS = tuple("0123456789")
COUNT = 20


def of(dataset: str, classes: tuple[str, ...] = DIGITS) -> Similarity | None:
    classifier = Classifier(cast("Any", None), dataset=dataset, class_names=list(classes), kind=MNIST)
    return out_of_distribution.of(classifier)


@pytest.fixture(scope="module")
def mnist() -> Similarity:
    similarity = of("mnist")
    assert similarity is not None
    return similarity


def of_package(name: str) -> Pixels:
    folder = CATALOGUE["mnist"].folder
    assert folder is not None
    return read_idx((folder / name).read_bytes(), name=name, kind="labels" if "labels" in name else "images")


def drawn(strokes: Iterable[NDArray[np.float64]]) -> Pixels:
    """Return the model's image of strokes between points (0 to 280), drawn with the pen of the page."""
    paper = Image.new("L", (280, 280))
    for points in strokes:
        ImageDraw.Draw(paper).line([tuple(point) for point in points], fill=255, width=24)
        for x, y in points:
            ImageDraw.Draw(paper).circle((x, y), 12, fill=255)
    return digit_segmentation.fit(np.asarray(paper, np.float32), MNIST)


def scribble(random: np.random.Generator) -> list[NDArray[np.float64]]:
    return [random.uniform(30, 250, (8, 2))]


def crossed_lines(random: np.random.Generator) -> list[NDArray[np.float64]]:
    angles = random.uniform(0, np.pi / 3) + np.arange(3) * np.pi / 3
    rays = 100 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [np.stack([140 - ray, 140 + ray]) + random.normal(0, 8, (2, 2)) for ray in rays]


@pytest.mark.parametrize(("strokes", "least"), [(scribble, 0.85), (crossed_lines, 0.95), (lambda _: [], 1)])
def test_most_other_drawings_and_empty_images_resemble_no_digit(
    mnist: Similarity, strokes: Callable[[np.random.Generator], list[NDArray[np.float64]]], least: float
) -> None:
    """Even fewer resemble the one class that a model predicts."""
    random = np.random.default_rng(1)
    images = [drawn(strokes(random)) for _ in range(COUNT)]

    unlike = [not any(mnist.holds(image, label) for label in range(10)) for image in images]

    assert np.mean(unlike) >= least


def test_most_images_resemble_their_own_class_and_no_other(mnist: Similarity) -> None:
    """The test uses every 40th image, because the first half is written more neatly."""
    images, labels = of_package("t10k-images-idx3-ubyte.gz")[::40], of_package("t10k-labels-idx1-ubyte.gz")[::40]

    assert np.mean([mnist.holds(image, label) for image, label in zip(images, labels, strict=True)]) >= 0.98
    assert np.mean([mnist.holds(image, (label + 1) % 10) for image, label in zip(images, labels, strict=True)]) < 0.3


@pytest.mark.parametrize(
    ("dataset", "classes"), [("digits", DIGITS), ("custom-12345678", DIGITS), ("mnist", ("even", "odd"))]
)
def test_the_answer_is_not_known_for_data_outside_the_package(dataset: str, classes: tuple[str, ...]) -> None:
    assert of(dataset, classes) is None
