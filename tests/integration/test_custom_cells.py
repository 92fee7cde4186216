"""The cell of docs/cells.md, word for word: trained, reused, promoted, and served without its file."""

import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from pipeline.data import stored
from pipeline.settings import DataSettings
from pipeline.tracking import store as tracking
from tests.integration.conftest import Command, run_id_in, save_cell

CELL = "my_cells:MGU"
SMALL = ("--dataset", "digits", "--epochs", 1, "--hidden-units", 16, "--shards", 2)


def test_a_custom_cell_is_kept_with_its_run_reused_and_promoted_and_answers_without_its_file(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save_cell(store)
    content = file.read_text(encoding="utf-8")
    run_id = run_id_in(command("run", "--cell", CELL, *SMALL).output)
    assert content == mlflow.artifacts.load_text(f"runs:/{run_id}/cell/my_cells.py")
    metadata = mlflow.models.get_model_info(f"runs:/{run_id}/digits-my_cells-MGU").metadata
    assert metadata is not None
    assert f"cell/my_cells.py of run {run_id}" in metadata["keras_model_needs"]
    assert "from my_cells import MGU" in metadata["keras_model_needs"]
    assert "1 reused" in command("compare", "--cells", CELL, "--seeds", 1, "--dry-run", *SMALL).output
    assert "Did you mean MGU?" in command("run", "--cell", "my_cells:MGUU", exit_code=2).output

    command("promote", "--run-id", run_id)
    monkeypatch.delitem(sys.modules, "my_cells")
    file.unlink()
    images = stored.find(DataSettings(dataset="digits")).test.examples.astype(np.float32)
    answers = mlflow.pyfunc.load_model("models:/digits-my_cells-MGU@champion").predict(images)

    predictions = tracking.load_table(run_id, "evaluation/predictions.parquet").filter(like="p_")
    np.testing.assert_allclose(answers, predictions, atol=1e-5)
    assert "my_cells" not in sys.modules
