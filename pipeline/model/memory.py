"""The memory that a training needs at the least, against what there is: said before it starts."""

from pathlib import Path

import psutil  # type: ignore[import-untyped]

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.settings import Settings, option

FLOAT = 4
"""Bytes of a float32."""

COPIES = 5
"""Arrays of the size of the weights: themselves, their gradients, Adam's two averages, those of the kept epoch."""

_LIMITS = ("/sys/fs/cgroup{}/memory.max", "/sys/fs/cgroup/memory{}/memory.limit_in_bytes")


def check(settings: Settings, data: DataSet) -> None:
    """Check that a training can fit into the memory.

    Raises:
        UsageError: it cannot; says how much it needs and how much there is.
    """
    needed, available = at_least(settings, data), free()
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


def free() -> int:
    """Return the bytes that this process may still take: of the machine, and of its control group where it has one."""
    return min([int(psutil.virtual_memory().available), *_limits()])


def _limits() -> list[int]:
    """Return the limits of the control groups that this process is in (Linux, containers)."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for group in {line.rpartition(":")[2].rstrip("/") for line in lines} | {""}:
        for pattern in _LIMITS:
            try:
                found.append(int(Path(pattern.format(group)).read_text(encoding="utf-8")))
            except (OSError, ValueError):  # not there, or "max"
                continue
    return found
