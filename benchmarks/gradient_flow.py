"""Draw how much of the gradient reaches each of the 28 steps of a vanilla RNN, for several initial weights.

    python benchmarks/gradient_flow.py

Trains the recipe `accurate` for the RNN with different activations, initial recurrent weights and learning rates. The
figure shows the norm of the gradient of an image's cost with respect to the state after each step, divided by the norm
at the last step: before training, and after a few epochs. The images are validation images. The script writes
docs/gradient_flow.png and prints the same numbers.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure

from pipeline import recipes
from pipeline.data.prepare import download, preprocess
from pipeline.data.splits import DataSet, Split
from pipeline.model.trainer import Trainer
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "gradient_flow.png"
IMAGES = 1_000
RED, BLUE, GREEN = "#ee6677", "#4477aa", "#228833"  # of Paul Tol's "bright" scheme, safe for colour-blind readers
TANH: dict[str, Any] = {"activation": "tanh"}
ORTHOGONAL: dict[str, Any] = {**TANH, "initializer": "orthogonal"}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "ReLU, identity, 0.001": ({}, {"color": GREEN}),
    "tanh, identity, 0.001": (TANH, {"color": RED}),
    "tanh, orthogonal, 0.001": (ORTHOGONAL, {"color": BLUE}),
    "tanh, identity, 0.004": ({**TANH, "learning_rate": 0.004}, {"color": RED, "linestyle": ":"}),
    "tanh, orthogonal, 0.004": ({**ORTHOGONAL, "learning_rate": 0.004}, {"color": BLUE, "linestyle": ":"}),
}
"""Parameters and style of each line, by its label."""

Norms = npt.NDArray[np.float32]


def gradient_norms(model: keras.Model, split: Split) -> Norms:
    """Return how much of the gradient of an image reaches each step, as the median over the images.

    This is the norm of the gradient of the cost with respect to the state after the step, divided by the norm at the
    last step.

    Args:
        model: a network with one forward RNN layer.
        split: N images and their labels.

    Returns:
        The fractions, (T,); the last one is 1.
    """
    steps = model.get_layer("steps")(model.get_layer("scale")(tf.constant(split.examples, tf.float32)))
    cell = model.get_layer("rnn_1").cell
    state, states = tf.zeros((len(split.labels), cell.units)), []
    with tf.GradientTape() as tape:
        tape.watch(state)
        for step in tf.unstack(steps, axis=1):
            state, _ = cell(step, [state])
            states.append(state)
        logits = model.get_layer("logits")(state)
        cost = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(split.labels, tf.int32), logits))
    norms = np.linalg.norm(np.stack(tape.gradient(cost, states)), axis=2)
    return np.asarray(np.median(norms / norms[-1], axis=1))


def measure(given: dict[str, Any], data: DataSet, epochs: int) -> tuple[Norms, Norms]:
    """Return the norms before training and after some epochs of the recipe."""
    trainer = Trainer.of(recipes.resolve({"recipe": "accurate", "cell": "rnn", **given}), data)
    split = Split(examples=data.validation.examples[:IMAGES], labels=data.validation.labels[:IMAGES])
    before = gradient_norms(trainer.model, split)
    for _ in trainer.epochs(epochs):
        pass
    return before, gradient_norms(trainer.model, split)


def draw(norms: dict[str, tuple[Norms, Norms]], epochs: int) -> Figure:
    """Return the figure: two panels, a line for each variant."""
    figure = Figure((9, 3.6), layout="constrained")
    titles = ("before training", f"after {epochs} epochs" if epochs > 1 else "after one epoch")
    for axes, title, at in zip(figure.subplots(1, 2, sharey=True), titles, (0, 1), strict=True):
        for label, pair in norms.items():
            shown = np.where(pair[at] > 0, pair[at], np.nan)  # with ReLU, 0 until there is ink
            axes.semilogy(range(1, len(shown) + 1), shown, label=label, **VARIANTS[label][1])
        axes.set(title=title, xlabel="step (row of the image)", xlim=(1, len(pair[at])))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("gradient with respect to the state\n÷ its norm at the last step")
    box: dict[str, Any] = {"loc": "lower right", "frameon": False, "fontsize": "small", "title_fontsize": "small"}
    figure.axes[1].legend(title="activation, start, learning rate", **box)
    return figure


def main() -> None:
    """Measure, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="mirrors", help="folder with other IDX files like MNIST's")
    parser.add_argument("--data-dir", default="data", help="folder for the data")
    parser.add_argument("--epochs", type=int, default=3, help="number of epochs between the two panels")
    arguments = parser.parse_args()
    given = {"source": arguments.source, "data_dir": arguments.data_dir}
    start_tensorflow(Settings().shards)
    download(Settings.of(given), Reporter())
    data = preprocess(Settings.of(given), Reporter())
    norms = {label: measure(given | own, data, arguments.epochs) for label, (own, _) in VARIANTS.items()}
    for label, pair in norms.items():
        for when, values in zip(("before", "after"), pair, strict=True):
            shown = ", ".join(f"{values[step - 1]:.2g} at {step}" for step in (1, 7, 14, 21, 28))
            print(f"{label}, {when}: {shown}")
    draw(norms, arguments.epochs).savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
