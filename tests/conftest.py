"""Fixtures and settings for all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.data.datasets import CATALOGUE

if TYPE_CHECKING:
    from playwright.sync_api import Browser


ONE_MODEL = {f"tests/integration/test_{name}.py" for name in ("mnist", "predict", "serve", "serving")}
"""Files that share trained models."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process do all tests of a file, or of the files that share trained models."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    scheduler = LoadFileScheduling(config, log)
    file_of = scheduler._split_scope
    scheduler._split_scope = lambda test: "models" if file_of(test) in ONE_MODEL else file_of(test)
    return scheduler


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
