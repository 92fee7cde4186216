"""A cell of one's own, tried on a tiny network before any data is touched: what cannot go well is said at once."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf

from pipeline import custom_cells
from pipeline.errors import UsageError
from pipeline.model import network
from pipeline.settings import Settings

HEIGHT, WIDTH, CLASSES = 3, 4, 2


def check(settings: Settings) -> None:
    """Build a small network of the cell as ``settings`` have it, take a gradient, save it and open it again.

    Raises:
        UsageError: the cell does not do as a cell has to; says in which of these.
    """
    cell = settings.cell
    model = _built(replace(settings, direction="forward"))
    _check_gradients(model, cell)
    if settings.direction == "bidirectional":
        _check_backward(settings)
    with custom_cells.explained(
        cell, "saved and opened again (its get_config has to return all that its __init__ was given)"
    ):
        _check_saved(model, cell)


def _built(settings: Settings) -> keras.Model:
    small = replace(settings, steps=0, layers=min(settings.layers, 2))
    with custom_cells.explained(small.cell, "a layer that can be built"):
        model = network.build(small, height=HEIGHT, width=WIDTH, classes=CLASSES)
    directions = 2 if small.direction == "bidirectional" else 1
    expected, received = (None, directions * small.hidden_units), model.get_layer("logits").input.shape
    if expected != received:
        raise UsageError(
            f"cell: expected a layer {small.cell} whose last output is of the shape {expected}, received {received}. "
            "With return_sequences=False it has to return the last output alone."
        )
    return model


def _check_gradients(model: keras.Model, cell: str) -> None:
    with custom_cells.explained(cell, "a layer that can be trained"), tf.GradientTape() as tape:
        cost = tf.reduce_sum(tf.square(model(_images(), training=True)))
    gradients = tape.gradient(cost, [weight.value for weight in model.trainable_variables])
    idle = [weight.path for weight, each in zip(model.trainable_variables, gradients, strict=True) if each is None]
    if idle:
        raise UsageError(
            f"cell: expected every trainable weight of {cell} to have an effect on its output, received gradients of "
            f"all but {', '.join(idle)}. Remove those, or make them with trainable=False."
        )


def _check_backward(settings: Settings) -> None:
    """Check that a layer reads backward: with the weights of the forward one it answers a reversed sequence alike."""
    model = _built(replace(settings, layers=1))
    both = next(layer for layer in model.layers if isinstance(layer, keras.layers.Bidirectional))
    both.backward_layer.set_weights(both.forward_layer.get_weights())
    x = _images() / 255
    if not np.allclose(both.backward_layer(x), both.forward_layer(x[:, ::-1]), atol=1e-5):
        raise UsageError(
            f"direction: expected forward with {settings.cell}, received bidirectional: its go_backwards does not make "
            "it read the last step first."
        )


def _check_saved(model: keras.Model, cell: str) -> None:
    images, kind = _images(), custom_cells.load(cell)
    expected = model(images).numpy()
    with TemporaryDirectory() as folder:
        network.save(model, Path(folder), fast=False)
        opened = keras.saving.load_model(Path(folder, "model.keras"), custom_objects={kind.__name__: kind})
        graph = tf.saved_model.load(str(Path(folder, "saved_model")))
        answers = {
            "model.keras": opened(images).numpy(),
            "saved_model": graph.signatures["serving_default"](pixels=tf.constant(images))["probabilities"].numpy(),
        }
    for form, answer in answers.items():
        if not np.allclose(expected, answer, atol=1e-5):
            raise ValueError(f"{form} answers otherwise than the network that was saved")


def _images() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    count = 2 * HEIGHT * WIDTH
    return np.linspace(0, 255, count, dtype=np.float32).reshape(2, HEIGHT, WIDTH)
