"""The cell of docs/cells.md, word for word: trained, reused, promoted, and served without its file."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest

from pipeline.data import stored
from pipeline.errors import UsageError
from pipeline.settings import DataSettings
from pipeline.tracking import store as tracking
from tests.integration.conftest import PROJECT, Command, run_id_in

CELL = "my_cells:MGU"
SMALL = ("--dataset", "digits", "--epochs", 3, "--shards", 2)


@pytest.fixture(scope="module", autouse=True)
def file(store: Path) -> Iterator[Path]:
    """Save the first block of Python in the document under the name in the document."""
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    path = store / "my_cells.py"
    path.write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def trained(command: Command) -> str:
    return run_id_in(command("run", "--cell", CELL, *SMALL).output)


def test_its_file_is_kept_with_the_run_which_says_how_to_open_the_keras_file(trained: str, file: Path) -> None:
    assert file.read_text(encoding="utf-8") == mlflow.artifacts.load_text(f"runs:/{trained}/cell/my_cells.py")
    metadata = mlflow.models.get_model_info(f"runs:/{trained}/digits-my_cells-MGU").metadata
    assert metadata is not None
    assert f"cell/my_cells.py of run {trained}" in metadata["keras_model_needs"]
    assert "from my_cells import MGU" in metadata["keras_model_needs"]


def test_it_is_reused(command: Command, trained: str) -> None:
    assert "1 reused" in command("compare", "--cells", CELL, "--seeds", 1, "--dry-run", *SMALL).output


def test_the_promoted_model_answers_without_its_file(
    command: Command, trained: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("promote", "--run-id", trained)
    images = stored.find(DataSettings(dataset="digits")).test.examples.astype(np.float32)
    predictions = tracking.load_table(trained, "evaluation/predictions.parquet").filter(like="p_")
    monkeypatch.delitem(sys.modules, "my_cells")
    content = file.read_bytes()
    file.unlink()

    answers = mlflow.pyfunc.load_model("models:/digits-my_cells-MGU@champion").predict(images)

    file.write_bytes(content)
    np.testing.assert_allclose(answers, predictions, atol=1e-5)
    assert "my_cells" not in sys.modules


def test_an_unusable_cell_is_refused_before_any_data_is_read(command: Command, tmp_path: Path) -> None:
    result = command("run", "--cell", "my_cells:MGUU", "--data-dir", tmp_path / "data", exit_code=UsageError.exit_code)

    assert "Did you mean MGU?" in result.output
    assert not (tmp_path / "data").exists()
