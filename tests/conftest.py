"""Fixtures and settings for all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.data.datasets import CATALOGUE

if TYPE_CHECKING:
    from playwright.sync_api import Browser


ONE_MODEL = ("mnist", "predict", "serve", "serving")
"""Files of integration tests that share trained models."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests by file, or by files that share trained models, for `--dist loadgroup`."""
    for item in items:
        shared = item.path.stem.removeprefix("test_") in ONE_MODEL and "integration" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("models" if shared else item.nodeid.partition("::")[0]))


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
