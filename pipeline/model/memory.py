"""Estimate the memory that a run needs, and compare it with the free memory."""

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.machine import free_memory
from pipeline.settings import Settings, option

FLOAT = 4
"""Bytes of a float32."""

COPIES = 5
"""Arrays with the size of the weights: weights, gradients, Adam's two moments, the weights of the kept epoch."""


def check(settings: Settings, data: DataSet) -> None:
    """Check that a run can fit into memory.

    Raises:
        UsageError: it cannot; the message says how much it needs and how much is free.
    """
    needed, available = at_least(settings, data), free_memory()
    if needed > available:
        raise UsageError(
            f"hidden_units, layers: expected a network that fits into the {available / 1e9:.1f} GB of free memory, "
            f"received one that needs at least {needed / 1e9:.1f} GB. Choose fewer units or layers, or smaller "
            f"batches, or try it anyway: `{option('force', True)}`."
        )


def at_least(settings: Settings, data: DataSet) -> int:
    """Return the bytes that a run needs at least: copies of the weights, the outputs of a batch, the examples."""
    steps, units, layers = data.kind.steps(settings), settings.hidden_units, settings.layers
    directions, gates = 2 if settings.direction == "bidirectional" else 1, cells.gates(settings.cell)
    rows = data.kind.inputs_per_step(settings) + (layers - 1) * directions * units + layers * units  # of all matrices
    weights = directions * gates * units * rows
    outputs = settings.batch_size * steps * layers * directions * units * (1 + gates)
    return FLOAT * (COPIES * weights + outputs) + data.train.examples.nbytes + data.validation.examples.nbytes
