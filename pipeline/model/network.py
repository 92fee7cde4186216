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

import math
from collections.abc import Callable, Mapping
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


def build(settings: Settings, *, height: int, width: int, classes: int) -> keras.Model:
    """Return the classifier: raw pixels (B, H, W) → probabilities (B, C), its weights drawn from the seed.

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
        x = _recurrent_layer(settings, number)(x)
        if settings.dropout:
            x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name=f"dropout_{number}")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x), name=_name(settings))
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


def _recurrent_layer(settings: Settings, number: int) -> keras.layers.Layer:
    """Return recurrent layer ``number``, counted from 1; only the last returns its last output alone."""
    sequences, name = number < settings.layers, f"{_name(settings)}_{number}"
    bidirectional = settings.direction == "bidirectional"
    if settings.cell not in CELLS:
        units = settings.hidden_units
        return custom_layer.build(settings.cell, units, sequences=sequences, bidirectional=bidirectional, name=name)
    options = {"activation": settings.activation} if settings.activation != "tanh" else {}
    layer = recurrent.layer_of(settings.cell)(settings.hidden_units, return_sequences=sequences, name=name, **options)
    return keras.layers.Bidirectional(layer, name=name) if bidirectional else layer


def _name(settings: Settings) -> str:
    """Return the cell as the name of a layer, which has no colon."""
    return settings.cell.rpartition(":")[2]


Classify = Callable[..., Mapping[str, Any]]
"""Takes ``pixels`` (B, H, W) float32, a tensor; gives ``probabilities`` (B, C) float32."""


def save(model: keras.Model, folder: Path, *, fast: bool = True) -> Classify:
    """Write ``model.keras`` and the graph ``saved_model/`` into ``folder``; return what that graph computes.

    The graph's signature takes ``pixels`` (B, H, W) float32 and gives ``probabilities`` (B, C) float32. A second
    signature, ``probabilities_by_step``, gives (B, T, C): the answer if reading ended after each step. It is missing
    where there are no such answers: from a network that reads in both directions, and from a custom layer whose last
    output is not the last of its sequence.

    Args:
        model: as ``build`` returns it.
        folder: exists.
        fast: compute the recurrent layers by ``recurrent.py``, which takes a server about half the time of Keras's
            loop for one image. False, for a custom cell: compute the layers as they are. The graph needs no Python
            code of the cell either way.
    """
    mgu.portable(model).save(folder / "model.keras")
    pixels = tf.TensorSpec(model.input_shape, tf.float32, name="pixels")
    by_step = None if fast else _model_by_step(model)

    @tf.function(input_signature=[pixels], autograph=False)  # type: ignore[untyped-decorator]
    def classify(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        if fast:
            return {"probabilities": tf.nn.softmax(recurrent.logits(model, pixels, backward=False))}
        return {"probabilities": model(pixels)}

    @tf.function(input_signature=[pixels], autograph=False)  # type: ignore[untyped-decorator]
    def classify_by_step(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {BY_STEP: by_step(pixels) if by_step else tf.nn.softmax(recurrent.logits_by_step(model, pixels))}

    signatures = {"serving_default": classify}
    if by_step or (fast and not _reads_backward(model)):
        signatures[BY_STEP] = classify_by_step
    module = tf.Module()
    module.weights = [*model.weights, *(by_step.weights if by_step else [])]
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)
    answers: Classify = classify
    return answers


def _reads_backward(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.Bidirectional) for layer in model.layers)


def _model_by_step(model: keras.Model) -> keras.Model | None:
    """Return a network of custom layers with the answers after each step, (B, T, C); None where there are none."""
    if _reads_backward(model):
        return None
    *_, last = (layer for layer in model.layers if "return_sequences" in layer.get_config())
    kinds = {type(each).__name__: type(each) for each in (last, getattr(last, "cell", None))}
    with keras.saving.custom_object_scope(kinds):
        copy = type(last).from_config(last.get_config() | {"return_sequences": True})
    x = copy(last.input)
    copy.set_weights(last.get_weights())
    for layer in model.layers[model.layers.index(last) + 1 :]:
        x = layer(x)
    by_step = keras.Model(model.input, x)
    image = np.linspace(0, 255, math.prod(model.input_shape[1:]), dtype=np.float32).reshape(1, *model.input_shape[1:])
    return by_step if np.allclose(by_step(image)[:, -1], model(image), atol=1e-5) else None
