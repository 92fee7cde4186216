"""From settings to a stock Keras model: recurrent layers read an image step by step.

Shapes: B images in a batch, H × W pixels, T steps, I inputs per step
(T · I = H · W), U hidden units, D directions (1 or 2), C classes.

    raw pixels (B, H, W), 0–255
      → Rescaling 1/255, Reshape          (B, T, I), 0–1, the pixels in the order of ``order``
      → recurrent layers                  (B, T, D·U) between layers, (B, D·U) after the last;
                                          each followed by Dropout, if requested, in training only
      → Dense                             (B, C) logits
      → Softmax                           (B, C) probabilities
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.cells import CELLS
from pipeline.model import custom_layer, initializers, mgu, recurrent
from pipeline.settings import CHRONO, Order, Settings

BY_STEP = "probabilities_by_step"

PERMUTATION_SEED = 2015
"""Seed of the one permutation of ``permuted``, drawn by ``numpy.random.RandomState``, whose numbers never change."""


def build(settings: Settings, *, height: int, width: int, classes: int, by_step: bool = False) -> keras.Model:
    """Return the classifier: raw pixels (B, H, W) → probabilities (B, C), its weights drawn from the seed.

    With ``by_step`` its probabilities are (B, T, C): the answer if reading ended after each step.

    The recurrent layers are Keras's own with their defaults: tanh, a
    forget-gate bias that starts at 1 (LSTM), reset after the product (GRU);
    the MGU's is in ``mgu.py``, and is saved as one of Keras's.
    Neither ``dropout`` nor ``initializer`` changes how other weights are drawn.

    Raises:
        UsageError: ``steps`` does not divide the pixels of an image.
    """
    steps = settings.steps_of(height, width)
    keras.utils.set_random_seed(settings.seed)
    inputs = keras.Input((height, width), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
    if settings.order != "rows":
        x = keras.layers.Reshape((height * width,), name="line")(x)
        x = keras.ops.take(x, _pixel_order(settings.order, height, width), axis=1)
    x = keras.layers.Reshape((steps, height * width // steps), name="steps")(x)
    for number in range(1, settings.layers + 1):
        x = _recurrent_layer(settings, number, sequences=by_step or number < settings.layers)(x)
        if settings.dropout:
            x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name=f"dropout_{number}")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x), name=settings.cell.rpartition(":")[2])
    if settings.initializer == "identity":
        initializers.set_identity(model)
    elif settings.cell in CELLS and settings.initializer in CHRONO:
        log = settings.initializer == "log-chrono"
        initializers.set_chrono(model, settings.cell, steps=steps, seed=settings.seed, log=log)
    return model


def _pixel_order(order: Order, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the pixels (H·W), counted along the rows, in the order in which they are read."""
    by_rows = np.arange(height * width).reshape(height, width)
    if order == "columns":
        by_rows = by_rows.T
    elif order == "snake":  # every other row from right to left, so that each pixel is next to the one before
        by_rows[1::2] = by_rows[1::2, ::-1].copy()
    elif order == "permuted":
        return np.random.RandomState(PERMUTATION_SEED).permutation(height * width)
    return by_rows.ravel()


def _recurrent_layer(settings: Settings, number: int, *, sequences: bool) -> keras.layers.Layer:
    """Return recurrent layer ``number``, counted from 1, which returns all outputs if ``sequences``."""
    name, units = f"{settings.cell.rpartition(':')[2]}_{number}", settings.hidden_units
    bidirectional = settings.direction == "bidirectional"
    if settings.cell not in CELLS:
        return custom_layer.build(settings.cell, units, sequences=sequences, bidirectional=bidirectional, name=name)
    options = {"activation": settings.activation} if settings.activation != "tanh" else {}
    layer = recurrent.layer(settings.cell, units, return_sequences=sequences, name=name, **options)
    return keras.layers.Bidirectional(layer, name=name) if bidirectional else layer


Answers = Callable[[tf.Tensor], tf.Tensor]

Classify = Callable[..., Mapping[str, Any]]
"""Takes ``pixels`` (B, H, W) float32, a tensor; gives ``probabilities`` (B, C) float32."""


def save(model: keras.Model, settings: Settings, folder: Path) -> Classify:
    """Write ``model.keras`` and the graph ``saved_model/`` into ``folder``; return what that graph computes.

    The graph's signature takes ``pixels`` (B, H, W) float32 and gives ``probabilities`` (B, C) float32. A second
    signature, ``probabilities_by_step``, gives (B, T, C): the answer if reading ended after each step. It is missing
    where there are no such answers: from a network that reads in both directions, and from a custom layer whose last
    output is not the last of its sequence.

    The graph of a built-in cell computes the recurrent layers by ``recurrent.py``, which takes a server about half the
    time of Keras's loop for one image. A custom cell is computed as it is; the graph needs no Python code of it.

    Args:
        model: as ``build`` returns it.
        settings: what it was built from.
        folder: exists.
    """
    mgu.as_stock_layers(model).save(folder / "model.keras")
    pixels = tf.TensorSpec(model.input_shape, tf.float32, name="pixels")

    def signature(name: str, answers: Answers) -> Any:
        @tf.function(input_signature=[pixels], autograph=False)  # type: ignore[untyped-decorator]
        def classify(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {name: answers(pixels)}

        return classify

    final, by_step = _answers(model, settings)
    module, classify = tf.Module(), signature("probabilities", final)
    module.variables_of_graph = classify.get_concrete_function().variables
    signatures = {"serving_default": classify} | ({BY_STEP: signature(BY_STEP, by_step)} if by_step else {})
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)
    return classify  # type: ignore[no-any-return]


def _answers(model: keras.Model, settings: Settings) -> tuple[Answers, Answers | None]:
    """Return what the graph computes from pixels: probabilities (B, C), and (B, T, C) if there are any by step."""
    forward = settings.direction == "forward"
    if settings.cell not in CELLS:
        by_step = _by_step(model, settings) if forward else None
        return (lambda pixels: by_step(pixels)[:, -1], by_step) if by_step else (model, None)

    def fast(pixels: tf.Tensor, *, by_step: bool = False) -> tf.Tensor:
        return tf.nn.softmax(recurrent.logits(model, pixels, backward=False, by_step=by_step))

    return fast, partial(fast, by_step=True) if forward else None


def _by_step(model: keras.Model, settings: Settings) -> keras.Model | None:
    """Return a network of custom layers that answers after each step; None if the last answer is not the model's."""
    _, height, width = model.input_shape
    by_step = build(settings, height=height, width=width, classes=model.output_shape[-1], by_step=True)
    by_step.set_weights(model.get_weights())
    image = np.linspace(0, 255, height * width, dtype=np.float32).reshape(1, height, width)
    return by_step if np.allclose(by_step(image)[:, -1], model(image), atol=1e-5) else None
