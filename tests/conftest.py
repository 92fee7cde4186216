"""Fixtures and settings for all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from pipeline.data.datasets import CATALOGUE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.ray_fixtures import Nodes

GROUPS = {
    "integration/test_ray": "ray",
    "execution/test_pools": "ray",
    "integration/test_mnist": "mnist",
    "integration/test_serve": "mnist",
    "integration/test_predict": "digits",
    "integration/test_serving": "digits",
    "integration/test_compare": "compare",
    "integration/test_project": "project",
}
"""Files whose tests one process does, because they share a cluster or models; first those that take longest."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process do all tests of a file, or of a group of files, and begin with the groups."""

    def file_of(item: pytest.Item) -> str:
        return f"{item.path.parent.name}/{item.path.stem}"

    order = [*GROUPS]
    items.sort(key=lambda item: order.index(file_of(item)) if file_of(item) in order else len(order))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(GROUPS.get(file_of(item), file_of(item))))


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the file of an empty tracking store, to be copied; one process makes it, because that takes seconds."""
    import mlflow  # imported here, because most tests need neither

    from pipeline.tracking import connection

    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent
    with FileLock(folder / "store.lock"), pytest.MonkeyPatch.context() as patch:
        if not (folder / "mlflow.db").exists():
            patch.chdir(folder)
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
            patch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # may be set by other tests
            connection.connect()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Nodes]":
    """Start a Ray cluster of two nodes, which store their data in different folders."""
    from tests.ray_fixtures import two_nodes

    with two_nodes(tmp_path_factory.mktemp("nodes")) as made:
        yield made


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the four published MNIST files, which come with the package."""
    folder = CATALOGUE["mnist"].folder
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Start the headless browser of this machine; tests without one are skipped."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs a chromium on the PATH, such as Debian's package of that name")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
