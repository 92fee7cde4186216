"""What several tests share."""

from pathlib import Path

import pytest

SHARED_MNIST = Path(__file__).parents[2] / "shared" / "mnist"


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the four published MNIST files; skips where there is none beside the checkout."""
    if not SHARED_MNIST.is_dir():
        pytest.skip(
            f"needs the published MNIST files in {SHARED_MNIST.parent.name}/{SHARED_MNIST.name} beside the checkout"
        )
    return SHARED_MNIST
