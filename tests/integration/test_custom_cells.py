"""The cell of docs/cells.md, word for word: compared, reused, promoted, and served without its file."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline import load
from pipeline.errors import UsageError
from tests.integration.conftest import PROJECT, Command, environment, run_id_in

CELL = "my_cells:MGU"
SMALL = ("--dataset", "digits", "--epochs", 3, "--shards", 2)


@pytest.fixture(scope="module", autouse=True)
def file(store: Path) -> Iterator[Path]:
    """Save the first block of Python in the document as the document says."""
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    path = store / "my_cells.py"
    path.write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def compared(command: Command) -> str:
    return run_id_in(command("compare", "--cells", f"gru,{CELL}", "--seeds", 1, *SMALL).output)


@pytest.fixture(scope="module")
def trained(compared: str) -> str:
    """Return the id of the training of the cell with seed 1."""
    query = f"params.cell = '{CELL}' and params.seed = '1'"
    return str(mlflow.search_runs(filter_string=query, output_format="list")[0].info.run_id)


def test_the_page_names_it_and_its_file_is_kept_with_the_run(compared: str, trained: str, file: Path) -> None:
    assert CELL in mlflow.artifacts.load_text(f"runs:/{compared}/comparison/report.html")
    assert file.read_text(encoding="utf-8") == mlflow.artifacts.load_text(f"runs:/{trained}/cell/my_cells.py")


def test_the_same_training_alone_has_the_same_costs(command: Command, trained: str) -> None:
    again = run_id_in(command("train", "--cell", CELL, "--new", *SMALL).output)

    def costs(run_id: str) -> list[float]:
        return [entry.value for entry in MlflowClient().get_metric_history(run_id, "cost")]

    assert costs(trained) == costs(again)


def test_it_is_reused(command: Command, compared: str) -> None:
    output = command("compare", "--cells", CELL, "--seeds", 1, "--dry-run", *SMALL).output

    assert "1 reused" in output


def test_the_promoted_model_answers_without_its_file(command: Command, trained: str, tmp_path: Path) -> None:
    command("promote", "--run-id", trained)
    address = "models:/digits-my_cells-MGU@champion"
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy, mlflow; images = numpy.load('images.npy');"
        f"answers = mlflow.pyfunc.load_model('{address}').predict(images); numpy.save('answers.npy', answers);"
        "sys.exit('my_cells' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), check=True)

    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), load(address).probabilities(images), rtol=1e-6)


def test_the_metadata_of_its_model_say_how_to_open_the_keras_file(trained: str) -> None:
    metadata = mlflow.models.get_model_info(f"runs:/{trained}/digits-my_cells-MGU").metadata

    assert metadata is not None
    assert f"cell/my_cells.py of run {trained}" in metadata["keras_model_needs"]
    assert "from my_cells import MGU" in metadata["keras_model_needs"]


def test_an_unusable_cell_is_refused_before_any_data_is_read(command: Command, tmp_path: Path) -> None:
    result = command("run", "--cell", "my_cells:MGUU", "--data-dir", tmp_path / "data", exit_code=UsageError.exit_code)

    assert "Did you mean MGU?" in result.output
    assert not (tmp_path / "data").exists()
