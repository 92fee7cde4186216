"""Measure how many pictures of digits ``predict`` classifies correctly, for each kind of picture.

    python benchmarks/pictures.py
    python benchmarks/pictures.py --model models:/mnist-gru@champion --kinds "shadow|vignette" --count 1000
    python benchmarks/pictures.py --samples samples

The pictures are made from MNIST's test images. Each kind uses the same images and seeds. Without ``--model``, a GRU is
first trained with the recipe `accurate`, in a temporary store. Prints a table in Markdown. With ``--samples``, the
script only writes the sample pictures of the README into a folder.
"""

import argparse
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from pipeline.data.datasets import CATALOGUE, STEMS, read_idx
from pipeline.serving import readers
from pipeline.startup import quieten
from pipeline.tracking import models
from pipeline.tracking.models import Classifier

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]
Random = np.random.Generator
Kind = Callable[[Pixels, Random], Image.Image]

SIZES = (28, 56, 140, 280, 420)
"""Sides of the pages in pixels: MNIST's, a thumbnail's, and typical ones of a scan or a photograph."""

RESAMPLING = Image.Resampling.BICUBIC


def page(image: Pixels, rng: Random, *, side: int | None = None, ink: float | None = None) -> Values:
    """Return the image as dark ink on light paper, (side, side), 0–255."""
    side = int(rng.choice(SIZES)) if side is None else side
    ink = rng.uniform(0, 70) if ink is None else ink
    paper = rng.uniform(215, 255)
    darkness = np.clip(np.asarray(Image.fromarray(image).resize((side, side), RESAMPLING), float) / 255, 0, 1)
    return np.asarray(paper + (ink - paper) * darkness)


def picture(values: Values) -> Image.Image:
    """Return the brightnesses as a grey picture."""
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def noisy(values: Values, rng: Random, *, deviation: float) -> Values:
    """Return the brightnesses with the noise of a sensor."""
    return np.asarray(values + rng.normal(0, deviation, values.shape))


def lit(values: Values, rng: Random, *, darkest: float) -> Values:
    """Return the brightnesses in a light that decreases to the fraction ``darkest`` from one side to the other."""
    rows, columns = np.indices(values.shape) / (max(values.shape) - 1) - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    along = rows * np.sin(turn) + columns * np.cos(turn)
    along = (along - along.min()) / np.ptp(along)
    return np.asarray(values * (1 - (1 - darkest) * along))


def own(image: Pixels, rng: Random) -> Image.Image:
    """Return MNIST's own image."""
    return Image.fromarray(image)


def inverted(image: Pixels, rng: Random) -> Image.Image:
    """Return MNIST's own image, dark on light."""
    return Image.fromarray(255 - image)


def dark_on_light(image: Pixels, rng: Random) -> Image.Image:
    """Return a digit of 40 to 300 pixels, somewhere on a page that is two to four times as wide."""
    side = int(rng.integers(56, 420))
    height, width = (int(side * rng.uniform(1, 2.5)) for _ in range(2))
    digit = page(image, rng, side=side)
    sheet = np.full((height, width), digit[0, 0])
    top, left = rng.integers(0, [height - side + 1, width - side + 1])
    sheet[top : top + side, left : left + side] = digit
    return picture(sheet)


def light_on_dark(image: Pixels, rng: Random) -> Image.Image:
    """Return the same, light on dark, as on a blackboard."""
    return Image.eval(dark_on_light(image, rng), lambda value: 255 - value)


def photograph(image: Pixels, rng: Random) -> Image.Image:
    """Return a digit dark on light, in light from one side, with the noise of a sensor."""
    bright = np.asarray(dark_on_light(image, rng), float)
    return picture(noisy(lit(bright, rng, darkest=0.6), rng, deviation=5))


def framed(image: Pixels, rng: Random, *, darkest: float, brightest: float) -> Image.Image:
    """Return a page with a frame: 2 pixels of 28, up to a twelfth of a larger page."""
    values = page(image, rng)
    side = len(values)
    width = 2 if side < 56 else int(rng.integers(2, side // 12 + 1))  # noqa: PLR2004
    inside = np.zeros(values.shape, bool)
    inside[width:-width, width:-width] = True
    return picture(np.where(inside, values, rng.uniform(darkest, brightest)))


def on_a_desk(image: Pixels, rng: Random, *, tilt: float) -> Image.Image:
    """Return a sheet of paper on a dark desk, rotated by up to ``tilt`` degrees."""
    side = int(rng.choice(SIZES[1:]))
    height, width = (int(side * rng.uniform(1.3, 2.2)) for _ in range(2))
    desk, angle = rng.uniform(20, 80), rng.uniform(-tilt, tilt)
    sheet = picture(page(image, rng, side=side))
    top, left = (int(rng.uniform(0.05, 0.95) * (room - side)) for room in (height, width))
    mask = Image.new("L", (width, height))
    mask.paste(255, (left, top, left + side, top + side))
    scene = Image.new("L", (width, height))
    scene.paste(sheet, (left, top))
    centre = (left + side / 2, top + side / 2)
    turned = (each.rotate(angle, RESAMPLING, center=centre) for each in (scene, mask))
    values, share = (np.asarray(each, float) for each in turned)
    return picture(noisy(np.where(share > 127, values, desk), rng, deviation=2))  # noqa: PLR2004


def in_a_corner(image: Pixels, rng: Random) -> Image.Image:
    """Return a light digit of half its size, in a corner of a black image of MNIST's size."""
    side = int(rng.integers(14, 19))
    small = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    top, left = (28 - side) * rng.integers(0, 2, 2)
    whole = np.zeros((28, 28), np.uint8)
    whole[top : top + side, left : left + side] = small
    return Image.fromarray(whole)


def blank(image: Pixels, rng: Random) -> Image.Image:
    """Return blank paper of any colour, of MNIST's size or larger."""
    side = int(rng.choice(SIZES))
    return Image.new("L", (side, side), int(rng.integers(256)) if rng.integers(2) else 255)


def vignetted(image: Pixels, rng: Random) -> Image.Image:
    """Return a page that becomes darker toward its corners, as with some lenses."""
    values = page(image, rng)
    rows, columns = np.indices(values.shape) / (len(values) - 1) * 2 - 1
    falloff = 1 - rng.uniform(0.4, 0.8) * (rows**2 + columns**2) / 2
    return picture(values * falloff)


def shadowed(image: Pixels, rng: Random) -> Image.Image:
    """Return a page with a corner in a shadow with a sharp or soft edge."""
    values = page(image, rng)
    side = len(values)
    reach = rng.uniform(0.5, 0.9) * side
    triangle = [(0, 0), (reach, 0), (0, reach * rng.uniform(0.6, 1))]
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(triangle, fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(side * rng.uniform(0, 0.08)))
    turned = np.rot90(np.asarray(mask, float), int(rng.integers(4)))
    return picture(values * (1 - rng.uniform(0.3, 0.6) * turned / 255))


def rounded(image: Pixels, rng: Random) -> Image.Image:
    """Return a page with rounded, transparent corners, as in screenshots and icons."""
    values = picture(page(image, rng))
    opacity = Image.new("L", values.size)
    radius = int(rng.uniform(0.1, 0.3) * values.width)
    ImageDraw.Draw(opacity).rounded_rectangle((0, 0, values.width - 1, values.height - 1), radius, fill=255)
    whole = values.convert("RGBA")
    whole.putalpha(opacity)
    return whole


def ruled(image: Pixels, rng: Random, *, squares: bool) -> Image.Image:
    """Return a page with ruled lines or squares, paler than the ink."""
    values = page(image, rng)
    side = len(values)
    width, pitch = max(1, side // 140), int(side * rng.uniform(0.14, 0.3))
    colour = rng.uniform(120, 200)
    start = int(rng.integers(pitch))
    lines = np.zeros(values.shape, bool)
    for offset in range(width):
        lines[start + offset :: pitch] = True
        if squares:
            lines[:, start + offset :: pitch] = True
    return picture(np.where(lines, np.minimum(values, colour), values))


def specked(image: Pixels, rng: Random) -> Image.Image:
    """Return a page with one dark speck."""
    values = page(image, rng)
    side = len(values)
    size = max(1, round(side * rng.uniform(0.01, 0.06)))
    top, left = rng.integers(0, side - size + 1, 2)
    values[top : top + size, left : left + size] = rng.uniform(0, 70)
    return picture(values)


def notebook_photograph(image: Pixels, rng: Random, *, side: int = 420) -> Image.Image:
    """Return a photograph of a digit on slightly tilted lines, in light from one side, with the noise of a sensor."""
    values = page(image, rng, side=side, ink=rng.uniform(20, 60))
    pitch, width = side * rng.uniform(0.16, 0.28), side / 140
    rows, columns = np.indices(values.shape)
    along = rows + columns * np.tan(np.radians(rng.uniform(-3, 3))) + rng.uniform(0, pitch)
    values = np.where(along % pitch < width, np.minimum(values, rng.uniform(130, 190)), values)
    return picture(noisy(lit(values, rng, darkest=0.6), rng, deviation=6))


KINDS: dict[str, Kind] = {
    "MNIST's own": own,
    "dark on light, 28 × 28": inverted,
    "dark on light, any size and place": dark_on_light,
    "light on dark, any size and place": light_on_dark,
    "a light from one side, and noise": photograph,
    "a black frame": partial(framed, darkest=0, brightest=20),
    "a grey frame": partial(framed, darkest=60, brightest=200),
    "a sheet of paper on a dark desk": partial(on_a_desk, tilt=0),
    "the same, askew by up to 10°": partial(on_a_desk, tilt=10),
    "a small light digit in a corner, 28 × 28": in_a_corner,
    "nothing on it": blank,
    "vignette": vignetted,
    "a corner in shadow": shadowed,
    "rounded, transparent corners": rounded,
    "a notebook's lines": partial(ruled, squares=False),
    "a notebook's squares": partial(ruled, squares=True),
    "one speck": specked,
    "a photograph of a notebook": notebook_photograph,
}
"""The name of each kind of picture, and the function that makes it from an image (28, 28) of MNIST."""

NOTHING = "nothing on it"
"""The kind whose correct answer is no digit: a picture without ink."""

SAMPLES = {"7.png": 0, "blackboard/2.png": 1, "photo-of-a-3.jpg": 90}
"""The test images of MNIST that the samples show, by file name."""


def samples(images: Pixels, folder: Path) -> None:
    """Write the samples of the README: a digit on paper, on a blackboard, and in a photographed notebook."""
    makers: tuple[Kind, ...] = (dark_on_light, light_on_dark, notebook_photograph)
    for (name, number), maker in zip(SAMPLES.items(), makers, strict=True):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        maker(images[number], np.random.default_rng(number)).save(file, optimize=True)


def test_images() -> tuple[Pixels, Pixels]:
    """Return MNIST's test images (10,000, 28, 28) and their labels (10,000,)."""
    folder = CATALOGUE["mnist"].folder
    assert folder is not None  # noqa: S101 - it comes with the package
    images, labels = ((folder / f"{stem}.gz").read_bytes() for stem in STEMS[2:])
    return read_idx(images, name="images", kind="images"), read_idx(labels, name="labels", kind="labels")


def right(kind: str, images: Pixels, labels: Pixels, classifier: Classifier) -> float:
    """Return the fraction of the images (N, 28, 28) that are classified correctly as pictures of this kind."""
    seed = list(KINDS).index(kind)
    form: Any = classifier.kind
    read = []
    for number, image in enumerate(images):
        file = io.BytesIO()
        KINDS[kind](image, np.random.default_rng([seed, number])).save(file, "PNG")
        read.append(readers.read(file, name=kind, form=form))
    pixels = np.stack(read)
    if kind == NOTHING:
        return float((pixels.max(axis=(1, 2)) == 0).mean())
    return float((classifier.probabilities(pixels).argmax(axis=1) == labels).mean())


def trained(folder: Path, epochs: int) -> str:
    """Train a model in a store in ``folder``, which this process then uses; return the address of the model."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    command = ("run", "--cell", "gru", "--recipe", "accurate", "--epochs", str(epochs), "--register", "pictures")
    subprocess.run([sys.executable, "-m", "pipeline", *command], cwd=folder, check=True, stdout=sys.stderr)
    return "models:/pictures@champion"


def measure(arguments: argparse.Namespace, model: str) -> None:
    """Classify the pictures of each kind, and print the table."""
    images, labels = test_images()
    chosen = np.random.default_rng(1).choice(len(images), arguments.count, replace=False)
    classifier = models.load(model)
    print(f"| pictures of {len(chosen):,} test images | correct |\n| --- | --- |")
    for kind in KINDS:
        if re.search(arguments.kinds, kind):
            print(f"| {kind} | {right(kind, images[chosen], labels[chosen], classifier):.1%} |", flush=True)


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="address of a model of MNIST; without it, one is trained")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of the training")
    parser.add_argument("--count", type=int, default=1_000, help="number of test images for each kind")
    parser.add_argument("--kinds", default="", help="regular expression that selects kinds by their name")
    parser.add_argument("--samples", type=Path, metavar="FOLDER", help="folder for the samples")
    return parser.parse_args()


def main() -> None:
    """Write the samples, or measure a given or new model."""
    arguments = parse()
    if arguments.samples:
        samples(test_images()[0], arguments.samples)
        return
    quieten()
    with TemporaryDirectory() as folder:
        measure(arguments, arguments.model or trained(Path(folder), arguments.epochs))


if __name__ == "__main__":
    main()
