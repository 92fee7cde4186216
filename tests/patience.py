"""Time limits of tests that scale with the machine: they end what hangs, and nothing that is only slow."""

import subprocess
import sys
import time
from functools import cache

IMPORT_SECONDS = 5.0
"""What an import of TensorFlow takes at most on a machine for which the limits are as they stand."""


@cache
def slowness() -> float:
    """Return how many times longer that import takes here and now; at least 1."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], capture_output=True, check=True)
    return max(1.0, (time.monotonic() - started) / IMPORT_SECONDS)


def scaled(seconds: float) -> float:
    """Return a limit as it is to be on this machine."""
    return seconds * slowness()
