"""Validation of a custom cell on a tiny network, before any data is read."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.model import custom_cells, network
from pipeline.settings import Settings

KIND = Images(height=3, width=4)
IMAGES = KIND.sample()


def check(settings: Settings) -> None:
    """Check that a network of the custom cell can be built, trained, saved and opened again.

    Raises:
        UsageError: it cannot; the message says what failed.
    """
    small = replace(settings, steps=0, layers=min(settings.layers, 2), direction="forward")
    model = _build(small)
    _check_training(model, small.cell)
    if settings.direction == "bidirectional":
        _check_backward(replace(small, layers=1, direction="bidirectional"))
    _check_saved(model, small)


def _build(settings: Settings) -> keras.Model:
    with custom_cells.explained(settings.cell, "a layer that can be built"):
        model = network.build(settings, KIND, classes=2)
    directions = 2 if settings.direction == "bidirectional" else 1
    expected, received = (None, directions * settings.hidden_units), model.get_layer("logits").input.shape
    if expected != received:
        raise UsageError(
            f"cell: the last output of {settings.cell} must have the shape {expected}; got {received}. "
            "With return_sequences=False it must return only the last output."
        )
    return model


def _check_training(model: keras.Model, cell: str) -> None:
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def gradients() -> list[tf.Tensor | None]:
        with tf.GradientTape() as tape:
            outputs = model(IMAGES, training=True)
            cost = tf.add_n([tf.reduce_sum(tf.square(outputs)), *model.losses])
        return tape.gradient(cost, [weight.value for weight in model.trainable_weights])  # type: ignore[no-any-return]

    with custom_cells.explained(cell, "a layer that can be trained"):
        computed = gradients()
    unused = [weight.path for weight, each in zip(model.trainable_weights, computed, strict=True) if each is None]
    if unused:
        raise UsageError(
            f"cell: every trainable weight of {cell} must affect its output; {', '.join(unused)} received no gradient. "
            "Remove them, or create them with trainable=False."
        )


def _check_backward(settings: Settings) -> None:
    """Check that the backward layer, with the forward layer's weights, gives the same for reversed sequences."""
    both = next(layer for layer in _build(settings).layers if isinstance(layer, keras.layers.Bidirectional))
    both.backward_layer.set_weights(both.forward_layer.get_weights())
    x = IMAGES / 255
    if not np.allclose(both.backward_layer(x), both.forward_layer(x[:, ::-1]), atol=1e-5):
        raise UsageError(
            f"direction: must be forward for {settings.cell}; with go_backwards=True it does not read the last step "
            "first."
        )


def _check_saved(model: keras.Model, settings: Settings) -> None:
    kind, expected = custom_cells.load(settings.cell), model(IMAGES).numpy()
    with (
        custom_cells.explained(
            settings.cell,
            "a layer that can be saved and opened again (get_config must return all arguments of __init__)",
        ),
        TemporaryDirectory() as folder,
    ):
        network.save(model, settings, KIND, Path(folder))
        opened = keras.saving.load_model(Path(folder, "model.keras"), custom_objects={kind.__name__: kind})
        if not np.allclose(expected, opened(IMAGES).numpy(), atol=1e-5):
            raise ValueError("the opened network gives other outputs than the saved one")
