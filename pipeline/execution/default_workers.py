"""How many trainings this machine takes at once."""

from pathlib import Path

from pipeline.machine import free_memory, usable_cores

MEMORY = 1.5e9
"""Bytes that a training is taken to need: at the defaults, MNIST included, it is 0.9e9."""


def at_once(trainings: int) -> int:
    """Return how many trainings to run at once: one per core, as far as the memory goes; one at a time on a GPU.

    Of an LSTM, two epochs side by side on one core each take about as long as one after the other on two; what is
    around the epochs then runs side by side, too. The numbers are the same. See ``benchmarks/side_by_side.py``.
    """
    if Path("/proc/driver/nvidia/gpus").exists():
        return 1
    return max(1, min(trainings, usable_cores(), int(free_memory() / MEMORY)))
