"""Real models that were changed; each writes a file if its code runs."""

import importlib.util
import py_compile
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.errors import PipelineError, UsageError
from pipeline.tracking import models
from tests.integration.conftest import DIGITS, Command, models_of, one_line, run_id_in


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Return the file that foreign code creates when it runs."""
    return tmp_path / "it-ran"


def writing(trace: Path) -> str:
    return f"\nopen({str(trace)!r}, 'w')\n"


def test_no_command_runs_changed_code_unless_it_is_trusted(command: Command, trace: Path, tmp_path: Path) -> None:
    run_id = run_id_in(command(*DIGITS, "--epochs", 1, "--seed", 9).output)
    (model,) = models_of(mlflow.get_run(run_id))
    change_code(Path(model.artifact_location), trace)
    Image.new("L", (8, 8)).save(tmp_path / "it.png")
    ending = (
        ("predict", tmp_path / "it.png", "--model", f"runs:/{run_id}/model"),
        ("promote", "--run-id", run_id, "--name", "foreign"),
        ("evaluate", "--run-id", run_id),
    )
    for arguments in (("serve", "--model", f"runs:/{run_id}/model", "--port", 0), *ending):
        output = one_line(command(*arguments, exit_code=2))
        assert "Its code has not run" in output
        assert "--trust" in output
        assert not trace.exists()
    for arguments in ending:
        command(*arguments, "--trust")
        trace.unlink()


@pytest.fixture
def model(digits_run: str, tmp_path: Path) -> Path:
    """Return a folder with a copy of one of our models, which tests can change."""
    files = mlflow.artifacts.download_artifacts(f"runs:/{digits_run}/digits-gru")
    return Path(shutil.copytree(files, tmp_path / "model"))


def change_code(model: Path, trace: Path) -> None:
    (model / "scoring.py").write_text((model / "scoring.py").read_text() + writing(trace))


@pytest.mark.parametrize(
    "change",
    [
        {"model_code_path": "/home/user/other.py"},
        {"code": "code"},
        {"loader_module": "antigravity"},
        {"data": ".."},
        {"artifacts": {"saved_model": {"path": "/tmp/saved_model"}}},  # noqa: S108
        {"loader_module": None},
        {},
    ],
)
def test_a_model_that_is_ours_but_for_one_thing_is_refused(model: Path, trace: Path, change: dict[str, Any]) -> None:
    """Without a change of the description, the code has changed."""
    shutil.copy(model / "scoring.py", model / "other.py")
    (model / "code").mkdir()
    (model / "code" / "numpy.py").write_text(writing(trace))
    description = yaml.safe_load((model / "MLmodel").read_text())
    description["flavors"]["python_function"] |= change
    (model / "MLmodel").write_text(yaml.safe_dump(description))
    if not change:
        change_code(model, trace)

    with pytest.raises(UsageError, match="--trust"):
        models.load(str(model))

    assert not trace.exists()


def test_python_runs_no_compiled_file_in_place_of_the_code_that_was_checked(model: Path, trace: Path) -> None:
    """With such a file (PEP 552, unchecked), Python does not read the source at all."""
    evil = model.with_name("evil.py")
    evil.write_text((model / "scoring.py").read_text() + writing(trace))
    compiled = importlib.util.cache_from_source(str(model / "scoring.py"))
    py_compile.compile(str(evil), compiled, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)

    mlflow.pyfunc.load_model(str(model))
    assert trace.exists()  # MLflow itself does run it
    trace.unlink()

    assert (1, 10) == models.load(str(model)).probabilities(np.zeros((1, 8, 8), np.uint8)).shape
    assert not trace.exists()


@pytest.mark.parametrize(
    "description",
    [
        "",
        "3",
        "flavors: 3",
        "metadata: [x]",
        "flavors: {python_function: {}}",
        "signature: {inputs: 'x'}",
        "{",
        "!!python/object:os.system {}",
    ],
)
def test_a_description_that_is_none_is_an_error_of_ours(model: Path, description: str) -> None:
    (model / "MLmodel").write_text(description)

    with pytest.raises(PipelineError, match=r"^model: "):
        models.load(str(model))
