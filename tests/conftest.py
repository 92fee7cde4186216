"""What several tests share."""

from pathlib import Path

import pytest

from pipeline.data.datasets import CATALOGUE
from tests.patience import scaled


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the limit of each test that starts processes be as this machine needs it."""
    for item in items:
        if "integration" in item.path.parts:
            own = item.get_closest_marker("timeout")
            limit = float(own.args[0] if own else config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(scaled(limit)), append=False)


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the four published MNIST files, which come with the package."""
    folder = CATALOGUE["mnist"].folder
    assert folder is not None
    return folder
