"""How well ``predict`` reads pictures of digits: made of MNIST's test images, a kind at a time, and answered.

    python benchmarks/pictures.py
    python benchmarks/pictures.py --model models:/mnist-gru@champion --kinds "shadow|vignette" --count 1000
    python benchmarks/pictures.py --samples samples

The same images make the pictures of each kind, from the same seeds each time.
Without ``--model`` a GRU is trained by the recipe `accurate` first, in a store
of its own. Prints a table in Markdown. ``--samples`` writes the README's sample
pictures into a folder, and no more.
"""

import argparse
import gzip
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from pipeline.data import idx
from pipeline.data.datasets import CATALOGUE
from pipeline.serving import image_files
from pipeline.startup import quieten
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]
Random = np.random.Generator
Kind = Callable[[Pixels, Random], Image.Image]

SIZES = (28, 56, 140, 280, 420)
"""Sides of the pages, in pixels: MNIST's own, a thumbnail, and what a scan or a photograph of a digit has."""

RESAMPLING = Image.Resampling.BICUBIC


def page(image: Pixels, rng: Random, *, side: int | None = None, ink: float | None = None) -> Values:
    """Return the image as a page with dark ink on light paper, (side, side), 0–255."""
    side = int(rng.choice(SIZES)) if side is None else side
    ink = rng.uniform(0, 70) if ink is None else ink
    paper = rng.uniform(215, 255)
    darkness = np.clip(np.asarray(Image.fromarray(image).resize((side, side), RESAMPLING), float) / 255, 0, 1)
    return np.asarray(paper + (ink - paper) * darkness)


def picture(values: Values) -> Image.Image:
    """Return a grey picture of brightnesses."""
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def noisy(values: Values, rng: Random, *, deviation: float) -> Values:
    """Return brightnesses with a sensor's noise."""
    return np.asarray(values + rng.normal(0, deviation, values.shape))


def lit(values: Values, rng: Random, *, darkest: float) -> Values:
    """Return brightnesses under a light that falls to ``darkest`` of itself from one side to the other."""
    rows, columns = np.indices(values.shape) / (max(values.shape) - 1) - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    along = rows * np.sin(turn) + columns * np.cos(turn)
    along = (along - along.min()) / np.ptp(along)
    return np.asarray(values * (1 - (1 - darkest) * along))


def own(image: Pixels, rng: Random) -> Image.Image:
    """MNIST's own image."""
    return Image.fromarray(image)


def inverted(image: Pixels, rng: Random) -> Image.Image:
    """MNIST's own image, dark on light."""
    return Image.fromarray(255 - image)


def dark_on_light(image: Pixels, rng: Random) -> Image.Image:
    """A digit of 40 to 300 pixels somewhere on a page that is twice to four times as wide."""
    side = int(rng.integers(56, 420))
    height, width = (int(side * rng.uniform(1, 2.5)) for _ in range(2))
    digit = page(image, rng, side=side)
    sheet = np.full((height, width), digit[0, 0])
    top, left = rng.integers(0, [height - side + 1, width - side + 1])
    sheet[top : top + side, left : left + side] = digit
    return picture(sheet)


def light_on_dark(image: Pixels, rng: Random) -> Image.Image:
    """The same as a blackboard has it."""
    return Image.eval(dark_on_light(image, rng), lambda value: 255 - value)


def photograph(image: Pixels, rng: Random) -> Image.Image:
    """Dark on light, in a light from one side, with a sensor's noise."""
    bright = np.asarray(dark_on_light(image, rng), float)
    return picture(noisy(lit(bright, rng, darkest=0.6), rng, deviation=5))


def framed(image: Pixels, rng: Random, *, darkest: float, brightest: float) -> Image.Image:
    """A page with a frame: 2 pixels of 28, up to a twelfth of larger ones."""
    values = page(image, rng)
    side = len(values)
    width = 2 if side < 56 else int(rng.integers(2, side // 12 + 1))  # noqa: PLR2004
    inside = np.zeros(values.shape, bool)
    inside[width:-width, width:-width] = True
    return picture(np.where(inside, values, rng.uniform(darkest, brightest)))


def on_a_desk(image: Pixels, rng: Random, *, tilt: float) -> Image.Image:
    """A sheet of paper that lies on a dark desk, up to ``tilt`` degrees askew."""
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
    """A light digit of half its size in a corner of MNIST's own size, black elsewhere."""
    side = int(rng.integers(14, 19))
    small = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    top, left = (28 - side) * rng.integers(0, 2, 2)
    whole = np.zeros((28, 28), np.uint8)
    whole[top : top + side, left : left + side] = small
    return Image.fromarray(whole)


def blank(image: Pixels, rng: Random) -> Image.Image:
    """White paper, or any other, of MNIST's own size or larger, with nothing on it."""
    side = int(rng.choice(SIZES))
    return Image.new("L", (side, side), int(rng.integers(256)) if rng.integers(2) else 255)


def vignetted(image: Pixels, rng: Random) -> Image.Image:
    """A page that grows dark toward its corners, as a lens makes it."""
    values = page(image, rng)
    rows, columns = np.indices(values.shape) / (len(values) - 1) * 2 - 1
    falloff = 1 - rng.uniform(0.4, 0.8) * (rows**2 + columns**2) / 2
    return picture(values * falloff)


def shadowed(image: Pixels, rng: Random) -> Image.Image:
    """A page whose corner lies in a shadow, its edge sharp or soft."""
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
    """A page whose corners are rounded off and transparent, as screenshots and icons have them."""
    values = picture(page(image, rng))
    opacity = Image.new("L", values.size)
    radius = int(rng.uniform(0.1, 0.3) * values.width)
    ImageDraw.Draw(opacity).rounded_rectangle((0, 0, values.width - 1, values.height - 1), radius, fill=255)
    whole = values.convert("RGBA")
    whole.putalpha(opacity)
    return whole


def ruled(image: Pixels, rng: Random, *, squares: bool) -> Image.Image:
    """A page with a notebook's lines, or squares, paler than the ink."""
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
    """A page with one dark speck somewhere on it."""
    values = page(image, rng)
    side = len(values)
    size = max(1, round(side * rng.uniform(0.01, 0.06)))
    top, left = rng.integers(0, side - size + 1, 2)
    values[top : top + size, left : left + size] = rng.uniform(0, 70)
    return picture(values)


def notebook_photograph(image: Pixels, rng: Random, *, side: int = 420) -> Image.Image:
    """A digit written on a notebook's lines: a light from one side, a sensor's noise, the lines a little askew."""
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
"""What each kind of picture is called, and what makes it of an image (28, 28) of MNIST."""

NOTHING = "nothing on it"
"""The kind whose right answer is no digit: a picture without ink."""

SAMPLES = {"7.png": 0, "blackboard/2.png": 1, "photo-of-a-3.jpg": 90}
"""Which of MNIST's test images the samples show; their names say what is on them."""


def samples(images: Pixels, folder: Path) -> None:
    """Write the README's samples: a digit on paper, one on a blackboard, a photograph of one in a notebook."""
    makers: tuple[Kind, ...] = (dark_on_light, light_on_dark, notebook_photograph)
    for (name, number), maker in zip(SAMPLES.items(), makers, strict=True):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        maker(images[number], np.random.default_rng(number)).save(file, optimize=True)


def test_images() -> tuple[Pixels, Pixels]:
    """Return MNIST's test images (10,000, 28, 28) and their labels (10,000,)."""
    folder = CATALOGUE["mnist"].folder
    assert folder is not None  # noqa: S101 - it comes with the package
    names = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    images, labels = (idx.read(gzip.decompress((folder / f"{name}.gz").read_bytes()), name=name) for name in names)
    return images, labels


def right(kind: str, images: Pixels, labels: Pixels, classifier: Classifier) -> float:
    """Return the part of the images (N, 28, 28) that are answered rightly when pictures of a kind are made of them."""
    seed = list(KINDS).index(kind)
    read = []
    for number, image in enumerate(images):
        file = io.BytesIO()
        KINDS[kind](image, np.random.default_rng([seed, number])).save(file, "PNG")
        read.append(image_files.read(file, name=kind, form=classifier.form))
    pixels = np.stack(read)
    if kind == NOTHING:
        return float((pixels.max(axis=(1, 2)) == 0).mean())
    return float((classifier.probabilities(pixels).argmax(axis=1) == labels).mean())


def trained(folder: Path, epochs: int) -> str:
    """Train a model into a store in ``folder``, which becomes that of this process; return the model's address."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    command = ("run", "--cell", "gru", "--recipe", "accurate", "--epochs", str(epochs), "--register", "pictures")
    subprocess.run([sys.executable, "-m", "pipeline", *command], cwd=folder, check=True, stdout=sys.stderr)
    return "models:/pictures@champion"


def measure(arguments: argparse.Namespace, model: str) -> None:
    """Print the table."""
    images, labels = test_images()
    chosen = np.random.default_rng(1).choice(len(images), arguments.count, replace=False)
    classifier = classifiers.load(model)
    print(f"| pictures of {len(chosen):,} test images | right |\n| --- | --- |")
    for kind in KINDS:
        if re.search(arguments.kinds, kind):
            print(f"| {kind} | {right(kind, images[chosen], labels[chosen], classifier):.1%} |", flush=True)


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="address of a model of MNIST; without it, one is trained")
    parser.add_argument("--epochs", type=int, default=30, help="of the training")
    parser.add_argument("--count", type=int, default=1_000, help="test images of which pictures are made")
    parser.add_argument("--kinds", default="", help="a regular expression: kinds whose name it is found in")
    parser.add_argument("--samples", type=Path, metavar="FOLDER", help="write the samples there")
    return parser.parse_args()


def main() -> None:
    """Write the samples, or measure, after a training if need be."""
    arguments = parse()
    if arguments.samples:
        samples(test_images()[0], arguments.samples)
        return
    quieten()
    with TemporaryDirectory() as folder:
        measure(arguments, arguments.model or trained(Path(folder), arguments.epochs))


if __name__ == "__main__":
    main()
