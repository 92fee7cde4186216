"""The memory that a training needs at the least, against what there is: said before it starts."""

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.machine import free_memory
from pipeline.settings import Settings, option

FLOAT = 4
"""Bytes of a float32."""

COPIES = 5
"""Arrays of the size of the weights: themselves, their gradients, Adam's two averages, those of the kept epoch."""


def check(settings: Settings, data: DataSet) -> None:
    """Check that a training can fit into the memory.

    Raises:
        UsageError: it cannot; says how much it needs and how much there is.
    """
    needed, available = at_least(settings, data), free_memory()
    if needed > available:
        raise UsageError(
            f"hidden_units, layers: expected a network that fits into the {available / 1e9:.1f} GB of free memory, "
            f"received one that needs {needed / 1e9:.1f} GB at the least. Take fewer units or layers, or smaller "
            f"batches; {option('force', True)} tries it all the same."
        )


def at_least(settings: Settings, data: DataSet) -> int:
    """Return the bytes that a training needs at the least: weights in all their copies, outputs of a batch, images."""
    steps = settings.steps_of(data.height, data.width)
    directions = 2 if settings.direction == "bidirectional" else 1
    inputs, units, weights = data.height * data.width // steps, settings.hidden_units, 0
    for _ in range(settings.layers):
        weights += directions * cells.gates(settings.cell) * units * (inputs + units)
        inputs = directions * units
    outputs = settings.batch_size * steps * settings.layers * directions * units * (1 + cells.gates(settings.cell))
    images = data.train.images.size + data.validation.images.size
    return FLOAT * (COPIES * weights + outputs) + images
