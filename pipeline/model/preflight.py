"""Checks before a run: its custom cell can be trained, and its network fits into memory."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.machine import free_memory
from pipeline.model import custom_cells
from pipeline.settings import Settings, option
from pipeline.startup import start_tensorflow

if TYPE_CHECKING:
    import keras

SMALL = Images(height=3, width=4)
"""The kind of the images on which a custom cell is checked."""

FLOAT = 4
"""Bytes of a float32."""

COPIES = 5
"""Arrays with the size of the weights: weights, gradients, Adam's two moments, the weights of the kept epoch."""


def check_cells(trainings: Sequence[Settings]) -> None:
    """Validate each custom cell once for each direction and size, before any data is read.

    Raises:
        UsageError: one cannot be trained, or two have classes of one name, which a saved model could not distinguish.
    """
    custom = {(each.cell, each.direction, each.hidden_units): each for each in trainings if cells.is_custom(each.cell)}
    if not custom:
        return
    for one, other in combinations(sorted({cell for cell, *_ in custom}), 2):
        if one.partition(":")[2] == other.partition(":")[2]:
            raise UsageError(
                f"cells: must be classes with different names; got {one} and {other}. A saved model identifies them "
                "by name: rename one."
            )
    start_tensorflow(max(each.shards for each in trainings))
    for settings in custom.values():
        _check_cell(settings)


def _check_cell(settings: Settings) -> None:
    """Check that a small network of the custom cell can be built, trained, saved and opened again.

    Raises:
        UsageError: it cannot; the message says what failed.
    """
    import keras

    from pipeline.model import network

    small, cell = replace(settings, steps=0, layers=min(settings.layers, 2)), settings.cell
    with custom_cells.explained(cell, "a layer that can be built"):
        model = network.build(small, SMALL, classes=2)
    directions = 2 if settings.direction == "bidirectional" else 1
    expected, received = (None, directions * settings.hidden_units), model.get_layer("logits").input.shape
    if expected != received:
        raise UsageError(
            f"cell: the last output of {cell} must have the shape {expected}; got {received}. "
            "With return_sequences=False it must return only the last output."
        )
    _check_gradients(model, cell)
    required = "a layer that can be saved and opened again (get_config must return all arguments of __init__)"
    with custom_cells.explained(cell, required), TemporaryDirectory() as folder:
        network.save(model, small, SMALL, Path(folder))
        kind, images = custom_cells.load(cell), SMALL.sample()
        opened = keras.saving.load_model(Path(folder, "model.keras"), custom_objects={kind.__name__: kind})
        if not np.allclose(model(images), opened(images), atol=1e-5):
            raise ValueError("the opened network gives other outputs than the saved one")


def _check_gradients(model: "keras.Model", cell: str) -> None:
    import tensorflow as tf

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def gradients() -> list[tf.Tensor | None]:
        with tf.GradientTape() as tape:
            cost = tf.add_n([tf.reduce_sum(tf.square(model(SMALL.sample(), training=True))), *model.losses])
        return tape.gradient(cost, [weight.value for weight in model.trainable_weights])  # type: ignore[no-any-return]

    with custom_cells.explained(cell, "a layer that can be trained"):
        computed = gradients()
    unused = [weight.path for weight, each in zip(model.trainable_weights, computed, strict=True) if each is None]
    if unused:
        raise UsageError(
            f"cell: every trainable weight of {cell} must affect its output; {', '.join(unused)} received no gradient. "
            "Remove them, or create them with trainable=False."
        )


def check_memory(settings: Settings, data: DataSet) -> None:
    """Check that a run can fit into memory.

    Raises:
        UsageError: it cannot; the message says how much it needs and how much is free.
    """
    needed, available = memory_needed(settings, data), free_memory()
    if needed > available:
        raise UsageError(
            f"hidden_units, layers: the network needs at least {needed / 1e9:.1f} GB of memory; "
            f"{available / 1e9:.1f} GB are free. Choose fewer units or layers, or smaller batches, or try it anyway: "
            f"`{option('force', True)}`."
        )


def memory_needed(settings: Settings, data: DataSet) -> int:
    """Return the bytes that a run needs at least: copies of the weights, the outputs of a batch, the examples."""
    steps, units, layers = data.kind.steps(settings), settings.hidden_units, settings.layers
    directions, gates = 2 if settings.direction == "bidirectional" else 1, cells.gates(settings.cell)
    inputs = int(data.train.examples[0].size) // steps
    rows = inputs + (layers - 1) * directions * units + layers * units  # of all matrices
    weights = directions * gates * units * rows
    outputs = settings.batch_size * steps * layers * directions * units * (1 + gates)
    return FLOAT * (COPIES * weights + outputs) + data.train.examples.nbytes + data.validation.examples.nbytes
