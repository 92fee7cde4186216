"""Real models that are foreign or were changed; each writes a file if its code runs."""

import importlib.util
import py_compile
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import Schema, TensorSpec
from PIL import Image

from pipeline.errors import DataError, PipelineError, UsageError
from pipeline.tracking import models
from tests.integration.conftest import Command, one_line

SIGNATURE = ModelSignature(
    Schema([TensorSpec(np.dtype(np.float32), (-1, 8, 8))]), Schema([TensorSpec(np.dtype(np.float32), (-1, 10))])
)


class Foreign(PythonModel):
    """A model that looks like ours from outside, but is a pickle."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def load_context(self, context: object) -> None:
        Path(self.trace).touch()

    def predict(self, context: object, model_input: np.ndarray[Any, Any], params: object = None) -> Any:
        return np.full((len(model_input), 10), 0.1, np.float32)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Return the file that foreign code creates when it runs."""
    return tmp_path / "it-ran"


@pytest.fixture
def foreign_run(digits_run: str, trace: Path) -> str:
    """Return the id of a run that looks like ours but contains a foreign model."""
    digest = mlflow.get_run(digits_run).data.tags["dataset_digest"]
    with mlflow.start_run() as run:
        mlflow.log_metric("best_val_accuracy", 0.5)
        mlflow.log_param("cell", "gru")
        mlflow.set_tags({"dataset": "digits", "dataset_digest": digest})
        mlflow.pyfunc.log_model(
            name="model",
            python_model=Foreign(str(trace)),
            signature=SIGNATURE,
            metadata={
                "dataset": "digits",
                "class_names": [*"0123456789"],
                "kind": "images",
                "example": {"height": 8, "width": 8, "light_on_dark": None, "boxed": False},
            },
            pip_requirements=[],
        )
    trace.unlink(missing_ok=True)
    return str(run.info.run_id)


def test_no_command_runs_a_foreign_pickle_unless_it_is_trusted(
    command: Command, foreign_run: str, trace: Path, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "it.png")
    model = f"runs:/{foreign_run}/model"
    ending = (
        ("predict", tmp_path / "it.png", "--model", model),
        ("promote", "--run-id", foreign_run, "--name", "foreign"),
        ("evaluate", "--run-id", foreign_run),
    )
    for arguments in (("serve", "--model", model, "--port", 0), *ending):
        output = one_line(command(*arguments, exit_code=2))
        assert "loader_module: mlflow.pyfunc.model" in output
        assert "Its code has not run" in output
        assert "--trust" in output
        assert not trace.exists()

    predicted, _, evaluated = (command(*arguments, "--trust").output for arguments in ending)

    assert trace.exists()
    assert "10.00%" in predicted
    assert "cost 2.3026" in evaluated  # -ln 0.1


@pytest.fixture
def model(digits_run: str, tmp_path: Path) -> Path:
    """Return a folder with a copy of one of our models, which tests can change."""
    files = mlflow.artifacts.download_artifacts(f"runs:/{digits_run}/digits-gru")
    return Path(shutil.copytree(files, tmp_path / "model"))


def describe(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the flavor in the description of a model."""
    description = yaml.safe_load((model / "MLmodel").read_text())
    change(description["flavors"]["python_function"])
    (model / "MLmodel").write_text(yaml.safe_dump(description))


def other_code(model: Path, code: str) -> None:
    (model / "scoring.py").write_text((model / "scoring.py").read_text() + code)


def other_file(model: Path, code: str) -> None:
    shutil.copy(model / "scoring.py", model / "other.py")
    describe(model, lambda flavor: flavor.update(model_code_path="/home/user/other.py"))


def other_module(model: Path, code: str) -> None:
    (model / "code").mkdir()
    (model / "code" / "numpy.py").write_text(code)
    describe(model, lambda flavor: flavor.update(code="code"))


def described(**other: str) -> Callable[[Path, str], None]:
    return lambda model, code: describe(model, lambda flavor: flavor.update(other))


def other_graph(model: Path, code: str) -> None:
    describe(model, lambda flavor: flavor["artifacts"]["saved_model"].update(path="/tmp/saved_model"))  # noqa: S108


@pytest.mark.parametrize(
    "change",
    [
        *(other_code, other_file, other_module, other_graph),
        *(described(loader_module="antigravity"), described(data="..")),
        lambda model, code: describe(model, lambda flavor: flavor.clear()),
    ],
)
def test_a_model_that_is_ours_but_for_one_thing_is_refused(
    model: Path, trace: Path, change: Callable[[Path, str], None]
) -> None:
    change(model, f"\nopen({str(trace)!r}, 'w')\n")

    with pytest.raises(UsageError, match="--trust"):
        models.load(str(model))

    assert not trace.exists()


def test_python_runs_no_compiled_file_in_place_of_the_code_that_was_checked(model: Path, trace: Path) -> None:
    """With such a file (PEP 552, unchecked), Python does not read the source at all."""
    evil = model.with_name("evil.py")
    evil.write_text((model / "scoring.py").read_text() + f"\nopen({str(trace)!r}, 'w')\n")
    compiled = importlib.util.cache_from_source(str(model / "scoring.py"))
    py_compile.compile(str(evil), compiled, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)

    mlflow.pyfunc.load_model(str(model))
    assert trace.exists()  # MLflow itself does run it
    trace.unlink()

    assert (1, 10) == models.load(str(model)).probabilities(np.zeros((1, 8, 8), np.uint8)).shape
    assert not trace.exists()


@pytest.mark.parametrize(
    "description",
    ["", "3", "flavors: 3", "metadata: [x]", "signature: {inputs: 'x'}", "{", "!!python/object:os.system {}"],
)
def test_a_description_that_is_none_is_an_error_of_ours(model: Path, description: str) -> None:
    (model / "MLmodel").write_text(description)

    with pytest.raises(PipelineError, match=r"^model: "):
        models.load(str(model))


def test_numbers_of_any_kind_are_pixels_and_nothing_else_is(model: Path) -> None:
    """The rule is the same for arrays and lists."""
    loaded = models.load(str(model))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8))
    expected = loaded.probabilities(pixels.astype(np.uint8))

    for same in (pixels, pixels.astype(np.float64), pixels.astype(np.float32), pixels.tolist()):
        np.testing.assert_array_equal(loaded.probabilities(same), expected)
    others: list[Any] = [pixels > 5, pixels.astype(str), pixels[0], pixels[:, :5], [[1], [1, 2]], None, pixels * 2]
    for other in others:
        with pytest.raises(DataError, match="pixels: "):
            loaded.probabilities(other)
