"""Checks before a run: its custom cell can be trained, and its network fits into memory."""

from collections.abc import Sequence
from itertools import combinations

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.machine import free_memory
from pipeline.settings import Settings, option
from pipeline.startup import start_tensorflow

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
    from pipeline.model import cell_validation

    for settings in custom.values():
        cell_validation.check(settings)


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
    rows = data.kind.inputs_per_step(settings) + (layers - 1) * directions * units + layers * units  # of all matrices
    weights = directions * gates * units * rows
    outputs = settings.batch_size * steps * layers * directions * units * (1 + gates)
    return FLOAT * (COPIES * weights + outputs) + data.train.examples.nbytes + data.validation.examples.nbytes
