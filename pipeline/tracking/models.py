"""Log models that are served from code, without pickle, in a small environment."""

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from mlflow import pyfunc
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature, get_model_info
from mlflow.types.schema import Schema, TensorSpec

from pipeline.errors import TrackingError
from pipeline.kinds.kind import Kind
from pipeline.tracking import schema
from pipeline.tracking.connection import client, environment, explained, retried
from pipeline.tracking.schema import TrackedRun
from pipeline.tracking.store import get_run

if TYPE_CHECKING:
    from pipeline.data.splits import DataSet

PACKAGES = ("mlflow-skinny", "numpy", "pandas", "tensorflow")


def log_model(folder: Path, data: "DataSet", *, name: str, temperature: float = 1.0, needs: str | None = None) -> str:
    """Log the model saved in ``folder`` (see ``network.save``) on the active run under a name; return its id.

    It takes raw examples, float32, and answers with probabilities (N, C) float32. Its environment names the few
    packages that it needs; ``needs`` names further requirements of its Keras file. ``temperature`` calibrates the
    confidence of answers, see :mod:`pipeline.evaluation.metrics`.
    """
    kind = data.kind
    examples = TensorSpec(np.dtype(np.float32), (-1, *(-1 if size is None else size for size in kind.shape)))
    probabilities = TensorSpec(np.dtype(np.float32), (-1, data.classes))
    # MLflow would add a nearby uv.lock to the model, and serving would install from it instead of the pins.
    with environment({"MLFLOW_LOG_UV_FILES": "false"}):
        info = retried(
            Model.log,
            artifact_path=None,
            name=name,
            flavor=_Portable,
            python_model=str(code(kind)),
            artifacts={"saved_model": str(folder / "saved_model"), "keras_model": str(folder / "model.keras")},
            signature=ModelSignature(Schema([examples]), Schema([probabilities])),
            input_example=kind.checked(data.test.examples[:1]),
            conda_env=_environment(),
            validate_serving_input=False,  # it would load the model again; the evaluation does so anyway
            metadata={
                "dataset": data.name,
                "dataset_digest": data.digest,
                "class_names": list(data.class_names),
                "temperature": temperature,
                "kind": kind.name,
                "example": kind.description(),
                **({"keras_model_needs": needs} if needs else {}),
            },
        )
    return str(info.model_id)


def code(kind: Kind) -> Path:
    """Return the code file that MLflow copies into models of a kind of examples."""
    return Path(__file__).with_name(kind.code)


def _environment() -> dict[str, object]:
    """Return the environment of a model.

    Given packages alone, MLflow looks up the installed version of pip, and warns if there is none, as in environments
    made by uv.
    """
    packages = [f"{package}=={version(package)}" for package in PACKAGES]
    python = f"python={platform.python_version()}"
    return {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": [python, "pip", {"pip": packages}]}


class _Portable:
    """MLflow's pyfunc flavour, with a description that names no folder of this machine."""

    __name__ = "mlflow.pyfunc"

    @staticmethod
    def save_model(path: str, mlflow_model: Model, *, validate_serving_input: bool, **named: Any) -> None:
        del validate_serving_input  # only for Model.log, which passes on all arguments
        pyfunc.save_model(path=path, mlflow_model=mlflow_model, **named)
        described = mlflow_model.flavors[pyfunc.FLAVOR_NAME]
        described["model_code_path"] = Path(described["model_code_path"]).name
        for artifact in described["artifacts"].values():
            artifact["uri"] = artifact["path"]
        description = yaml.safe_load(mlflow_model.to_yaml()) | {"artifact_path": schema.MODEL}
        Path(path, "MLmodel").write_text(yaml.safe_dump(description), encoding="utf-8")


def discard_models(run: TrackedRun, *, keep: str) -> None:
    """Delete all models that a run has logged but one."""
    for model in _models_of(run):
        if model.model_id != keep:
            client().delete_logged_model(model.model_id)


def of(run: TrackedRun) -> LoggedModel:
    """Return the model that a run has logged.

    Raises:
        TrackingError: the run has no model.
    """
    if found := _models_of(run):
        return found[0]
    raise TrackingError(f"run_id: must be a run that has logged a model; run {run.run_id} has none.")


def address(given: str) -> str:
    """Return a URI that MLflow resolves; ``runs:/RUN_ID/model`` becomes the URI of the run's logged model."""
    of_run = re.fullmatch(rf"runs:/(\w+)(/{schema.MODEL})?", given)
    return str(of(get_run(of_run[1])).model_uri) if of_run else given


def run_of(given: str) -> str:
    """Return the id of the run that has logged the model with a URI.

    Raises:
        TrackingError: there is no such model, or no run has logged it.
    """
    problem = f"model: must be the URI of a model that a run has logged; got {given!r}"
    with explained(problem):
        run_id = retried(get_model_info, address(given)).run_id
    if not run_id:
        raise TrackingError(f"{problem}, which no run has logged.")
    return str(run_id)


def _models_of(run: TrackedRun) -> list[LoggedModel]:
    """Return the models that a run has logged, the newest first."""
    found = client().search_logged_models([run.experiment_id], filter_string=f"source_run_id = '{run.run_id}'")
    return sorted(found, key=lambda model: -model.creation_timestamp)
