"""Fixtures and settings for all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from pipeline.data.datasets import CATALOGUE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.ray_fixtures import Nodes

SLOWEST = {
    "ray": ["integration/test_ray.py", "unit/execution/test_executors.py"],
    "models": [
        *("integration/test_mnist.py", "integration/test_serve.py", "integration/test_predict.py"),
        *("integration/test_serving.py", "integration/test_run.py", "integration/test_report.py"),
        *("integration/test_promote.py", "integration/test_trust.py", "integration/test_failures.py"),
    ],
    "compare": ["integration/test_compare.py"],
    "search": ["integration/test_search.py"],
}
GROUPS = {f"tests/{file}": group for group, files in SLOWEST.items() for file in files}
"""Files whose tests one process does, because they share a cluster or models; first those that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    order = list(GROUPS)
    files = {item: item.nodeid.partition("::")[0] for item in items}
    items.sort(key=lambda item: order.index(files[item]) if files[item] in order else len(order))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process do all tests of a file, or of a group of files."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    scheduler = LoadFileScheduling(config, log)
    file_of = scheduler._split_scope
    scheduler._split_scope = lambda test: GROUPS.get(file_of(test), file_of(test))
    return scheduler


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
    from playwright.sync_api import expect, sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs a chromium on the PATH, such as Debian's package of that name")
    expect.set_options(timeout=60_000)  # milliseconds; a busy machine is slow
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
