"""What several tests share."""

from pathlib import Path

import pytest

from pipeline.data.datasets import CATALOGUE


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the four published MNIST files, which come with the package."""
    folder = CATALOGUE["mnist"].folder
    assert folder is not None
    return folder
