"""From settings to a stock Keras model; recurrent layers read an example step by step.

Shapes: B examples in a batch, T steps, I inputs per step, U hidden units, D directions (1 or 2), C classes. The kind of
the examples (``kinds/``) makes the first layers. For images, H × W = T · I; for sequences, I is the number of features.

    raw pixels (B, H, W), 0–255, or sequences (B, T, I), padded with NaN
      → layers of the kind                (B, T, I), scaled; for sequences also a mask of the real steps
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
import tensorflow as tf

from pipeline.cells import CELLS
from pipeline.kinds.kind import Kind
from pipeline.model import layers, recurrent
from pipeline.settings import Settings

BY_STEP = "probabilities_by_step"


def build(settings: Settings, kind: Kind, *, classes: int, by_step: bool = False) -> keras.Model:
    """Return the classifier: raw examples → probabilities (B, C), its weights drawn from the seed.

    With ``by_step`` its probabilities are (B, T, C): the answer if reading ended after each step.

    The recurrent layers are Keras's own with their defaults: tanh, a
    forget-gate bias that starts at 1 (LSTM), reset after the product (GRU);
    the layer of the MGU is in ``layers.py``, and is saved as a layer of Keras.
    Neither ``dropout`` nor ``initializer`` changes how other weights are drawn.

    Raises:
        UsageError: ``steps`` does not divide the pixels of an image.
    """
    keras.utils.set_random_seed(settings.seed)
    inputs = keras.Input(kind.shape, name=kind.model_input)
    x, mask = kind.front(inputs, settings)
    masked = {} if mask is None else {"mask": mask}
    for number in range(1, settings.layers + 1):
        x = layers.recurrent(settings, number, sequences=by_step or number < settings.layers)(x, **masked)
        if settings.dropout:
            x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name=f"dropout_{number}")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    model = keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x), name=settings.cell.rpartition(":")[2])
    layers.initialise(model, settings, steps=kind.steps(settings))
    return model


Answers = Callable[[tf.Tensor], tf.Tensor]

Classify = Callable[[Any], Mapping[str, Any]]
"""Takes examples, a float32 tensor; returns ``probabilities`` (B, C) float32."""


def save(model: keras.Model, settings: Settings, kind: Kind, folder: Path) -> Classify:
    """Write ``model.keras`` and the graph ``saved_model/`` into ``folder``; return the function of that graph.

    The graph's signature takes raw examples, float32, and gives ``probabilities`` (B, C) float32. A second
    signature, ``probabilities_by_step``, gives (B, T, C): the answer if reading ended after each step. It is missing
    if there are no such answers: for a network that reads in both directions, and for a custom layer whose last
    output is not the last of its sequence.

    The graph of a built-in cell computes the recurrent layers with ``recurrent.py``, which takes a server about half
    the time of Keras's loop for one image. A custom cell is traced unchanged; the graph does not need its Python code.

    Args:
        model: the model that ``build`` returned.
        settings: the settings that it was built from.
        kind: the kind that it was built from.
        folder: an existing folder.
    """
    layers.as_stock_layers(model).save(folder / "model.keras")
    examples = tf.TensorSpec(model.input_shape, tf.float32, name=kind.model_input)

    def signature(name: str, answers: Answers) -> Any:
        @tf.function(input_signature=[examples], autograph=False)  # type: ignore[untyped-decorator]
        def classify(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return {name: answers(examples)}

        return classify

    final, by_step = _answers(model, settings, kind)
    module, classify = tf.Module(), signature("probabilities", final)
    module.variables_of_graph = classify.get_concrete_function().variables
    signatures = {"serving_default": classify} | ({BY_STEP: signature(BY_STEP, by_step)} if by_step else {})
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)
    return classify  # type: ignore[no-any-return]


def _answers(model: keras.Model, settings: Settings, kind: Kind) -> tuple[Answers, Answers | None]:
    """Return the functions of the graph: probabilities (B, C) and, if possible, probabilities by step (B, T, C)."""
    forward = settings.direction == "forward"
    if settings.cell not in CELLS:
        by_step = _by_step(model, settings, kind) if forward else None
        return (lambda examples: by_step(examples)[:, -1], by_step) if by_step else (model, None)

    def fast(examples: tf.Tensor, *, by_step: bool = False) -> tf.Tensor:
        lengths = kind.lengths(examples)
        examples = examples if by_step else kind.trimmed(examples, lengths)
        return tf.nn.softmax(recurrent.logits(model, examples, lengths=lengths, backward=False, by_step=by_step))

    return fast, partial(fast, by_step=True) if forward else None


def _by_step(model: keras.Model, settings: Settings, kind: Kind) -> keras.Model | None:
    """Return a network of custom layers that answers after each step; None if its last answer is not the model's."""
    by_step = build(settings, kind, classes=model.output_shape[-1], by_step=True)
    by_step.set_weights(model.get_weights())
    return by_step if np.allclose(by_step(kind.sample())[:, -1], model(kind.sample()), atol=1e-5) else None
