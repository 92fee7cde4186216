"""From settings to a stock Keras model: an image read step by step by recurrent layers.

Shapes: B images in a batch, H × W pixels, T steps, I inputs per step
(T · I = H · W), U hidden units, D directions (1 or 2), C classes.

    raw pixels (B, H, W), 0–255
      → Rescaling 1/255, Reshape          (B, T, I), 0–1, the pixels in the order in which they are read
      → recurrent layers                  (B, T, D·U) between layers, (B, D·U) out of the last step;
                                          after each, where it is asked for, Dropout, in training alone
      → Dense                             (B, C) logits
      → Softmax                           (B, C) probabilities
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.cells import CELLS
from pipeline.model import chrono, custom_cell, mgu, pixel_order, recurrent
from pipeline.settings import CHRONO, Settings

BY_STEP = "probabilities_by_step"


def build(settings: Settings, *, height: int, width: int, classes: int) -> keras.Model:
    """Return the classifier: raw pixels (B, H, W) → probabilities (B, C), its weights drawn from the seed.

    The recurrent layers are Keras's own with their defaults: tanh, a
    forget-gate bias that starts at 1 (LSTM), reset after the product (GRU);
    the MGU's is ours, and saved as one of Keras's.
    Neither ``dropout`` nor ``initializer`` changes what other weights are drawn.

    Raises:
        UsageError: ``steps`` does not divide the pixels of an image.
    """
    steps = settings.steps_of(height, width)
    keras.utils.set_random_seed(settings.seed)
    inputs = keras.Input((height, width), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
    if settings.order != "rows":
        x = keras.layers.Reshape((height * width,), name="line")(x)
        x = keras.ops.take(x, pixel_order.pixels(settings.order, height, width), axis=1)
    x = keras.layers.Reshape((steps, height * width // steps), name="steps")(x)
    for number in range(1, settings.layers + 1):
        x = _recurrent(settings, number)(x)
        if settings.dropout:
            x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name=f"dropout_{number}")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x), name=_name(settings))
    if settings.initializer == "identity":
        _start_at_identity(model)
    elif settings.initializer in CHRONO:
        log = settings.initializer == "log-chrono"
        chrono.start(model, settings.cell, steps=steps, seed=settings.seed, log=log)
    return model


def _recurrent(settings: Settings, number: int) -> keras.layers.Layer:
    """Return recurrent layer ``number``, counted from 1; only the last gives its last output alone."""
    sequences, name = number < settings.layers, f"{_name(settings)}_{number}"
    if settings.cell in CELLS:
        kind = {"activation": settings.activation} if settings.activation != "tanh" else {}
        layer = recurrent.layer_of(settings.cell)(settings.hidden_units, return_sequences=sequences, name=name, **kind)
    else:
        layer = custom_cell.layer(settings.cell, settings.hidden_units, sequences=sequences)
    if settings.direction == "forward":
        return layer
    if settings.cell in CELLS:
        return keras.layers.Bidirectional(layer, name=name)
    return custom_cell.both_directions(settings.cell, layer, name=name)


def _name(settings: Settings) -> str:
    """Return the cell as the name of a layer, which has no colon."""
    return settings.cell.rpartition(":")[2]


def _start_at_identity(model: keras.Model) -> None:
    """Set the recurrent weights (U, U) of every gate to the identity: a state starts as a sum over the steps.

    Keras's ``Identity`` would give it to the first gate alone. All other weights stay as they were drawn.
    """
    for weight in model.trainable_weights:
        if weight.name == "recurrent_kernel":
            units, columns = weight.shape
            weight.assign(np.tile(np.eye(units), columns // units))


Classify = Callable[..., Mapping[str, Any]]
"""Takes ``pixels`` (B, H, W) float32, a tensor; gives ``probabilities`` (B, C) float32."""


def save(model: keras.Model, folder: Path, *, fast: bool = True) -> Classify:
    """Write ``model.keras`` and the graph ``saved_model/`` into ``folder``; return what that graph computes.

    The graph's signature takes ``pixels`` (B, H, W) float32 and gives
    ``probabilities`` (B, C) float32. A second one, ``probabilities_by_step``, gives (B, T, C): the answer if reading
    ended after each step. A network that reads in both directions begins at the end, and has no such answers; nor has
    a layer of one's own that cannot be asked for them. The graph computes the recurrent layers by ``recurrent.py``: one
    image takes a server about half of the time that Keras's loop takes. Not ``fast``, for a cell of one's own, it
    computes the layers as they are; the graph needs no code of theirs either way.
    """
    mgu.portable(model).save(folder / "model.keras")
    pixels = tf.TensorSpec(model.input_shape, tf.float32, name="pixels")

    @tf.function(input_signature=[pixels], autograph=False)  # type: ignore[untyped-decorator]
    def classify(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        if fast:
            return {"probabilities": tf.nn.softmax(recurrent.logits(model, pixels, backward=False))}
        return {"probabilities": model(pixels)}

    @tf.function(input_signature=[pixels], autograph=False)  # type: ignore[untyped-decorator]
    def classify_by_step(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = recurrent.logits_by_step(model, pixels) if fast else custom_cell.logits_by_step(model, pixels)
        return {BY_STEP: tf.nn.softmax(logits)}

    signatures = {"serving_default": classify}
    forward = not any(isinstance(layer, keras.layers.Bidirectional) for layer in model.layers)
    if forward and (fast or custom_cell.tells_by_step(model)):
        signatures[BY_STEP] = classify_by_step
    module = tf.Module()
    module.weights = model.weights
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)
    answers: Classify = classify
    return answers
