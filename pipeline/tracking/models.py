"""Models: log a model that is served from code, without pickle; find, check and load a logged one.

Anyone with write access to the store can write a model's files, and a pyfunc runs code when it is loaded: a pickle, a
module that it names, a folder of code. So its description (``MLmodel``) is read first, as data. A model is loaded only
if its code is this package's ``scoring.py``, or if the user trusts it (``--trust``). The checked files are also the
files that are loaded: a copy that no other process writes to.
"""

import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from mlflow import pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, get_model_info
from mlflow.pyfunc import PyFuncModel
from mlflow.types.schema import Schema, TensorSpec
from numpy.typing import ArrayLike, NDArray

from pipeline import disk
from pipeline.errors import DataError, TrackingError, UsageError
from pipeline.kinds import known
from pipeline.kinds.kind import Kind
from pipeline.machine import usable_cores
from pipeline.settings import option
from pipeline.startup import start_tensorflow
from pipeline.tracking import schema
from pipeline.tracking.connection import client, connect, environment, explained, retried
from pipeline.tracking.schema import TrackedRun
from pipeline.tracking.store import get_run

if TYPE_CHECKING:
    from pipeline.data.splits import DataSet

PACKAGES = ("mlflow-skinny", "numpy", "pandas", "tensorflow")
"""The packages that a served model needs."""

CODE = Path(__file__).with_name("scoring.py")
"""The code that MLflow copies into every model."""

LOADED_BY = {
    "loader_module": "mlflow.pyfunc.loaders.code_model",
    "model_code_path": CODE.name,
    "artifacts": {
        name: {"path": f"artifacts/{file}", "uri": f"artifacts/{file}"}
        for name, file in (("keras_model", "model.keras"), ("saved_model", "saved_model"))
    },
}
"""How MLflow loads a model of this pipeline, by the names in its description."""

BY_STEP = "probabilities_by_step"
"""The name of the second signature of the graph, and of its output."""

AT_ONCE_BY_STEP = 128
"""Number of examples in one pass through a network that keeps the outputs of all steps."""


# --- logging a model ------------------------------------------------------------------------------------------------


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
            python_model=str(CODE),
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
                "example": vars(kind),
                **({"keras_model_needs": needs} if needs else {}),
            },
        )
    return str(info.model_id)


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
        mlflow_model.flavors[pyfunc.FLAVOR_NAME] |= LOADED_BY
        description = yaml.safe_load(mlflow_model.to_yaml()) | {"artifact_path": schema.MODEL}
        Path(path, "MLmodel").write_text(yaml.safe_dump(description), encoding="utf-8")


# --- the models of a run --------------------------------------------------------------------------------------------


def of(run: TrackedRun) -> LoggedModel:
    """Return the model that a run has logged.

    Raises:
        TrackingError: the run has no model.
    """
    if found := _models_of(run):
        return found[0]
    raise TrackingError(f"run_id: must be a run that has logged a model; run {run.run_id} has none.")


def _models_of(run: TrackedRun) -> list[LoggedModel]:
    """Return the models that a run has logged, the newest first."""
    found = client().search_logged_models([run.experiment_id], filter_string=f"source_run_id = '{run.run_id}'")
    return sorted(found, key=lambda model: -model.creation_timestamp)


def discard_models(run: TrackedRun, *, keep: str) -> None:
    """Delete all models that a run has logged but one."""
    for model in _models_of(run):
        if model.model_id != keep:
            client().delete_logged_model(model.model_id)


def _address(given: str) -> str:
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
        run_id = retried(get_model_info, _address(given)).run_id
    if not run_id:
        raise TrackingError(f"{problem}, which no run has logged.")
    return str(run_id)


# --- a loaded model -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded model.

    Attributes:
        model: the model loaded by MLflow.
        dataset: the name of the data set that it was trained on.
        class_names: one per class, from 0.
        kind: the kind of its examples.
        temperature: the temperature at which its confidence matches its accuracy on the validation examples.
        step_by_step: gives the answers after each step for float32 examples, under the name of the model's input; None
            if the model has none.
        example: a test example; None: not known.
    """

    model: PyFuncModel
    dataset: str
    class_names: Sequence[str]
    kind: Kind
    temperature: float = 1.0
    step_by_step: Callable[..., Mapping[str, Any]] | None = None
    example: NDArray[Any] | None = None

    def by_step(self, examples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (N, T, C) of examples if reading them ended after each step.

        Raises:
            UsageError: the model does not answer after each step.
        """
        if self.step_by_step is None:
            raise UsageError(
                "by_step: needs a model that answers after each step; this one reads in both directions, or has a "
                "custom cell that returns only its last output."
            )
        starts = range(0, len(examples), AT_ONCE_BY_STEP)
        parts = [self.kind.checked(examples[start : start + AT_ONCE_BY_STEP]) for start in starts]
        return np.concatenate([self.step_by_step(**{self.kind.model_input: part})[BY_STEP] for part in parts])

    def probabilities(self, examples: ArrayLike) -> NDArray[np.float32]:
        """Return the probabilities (N, C) of examples; thread-safe.

        Raises:
            DataError: the examples do not fit the model.
        """
        numbers = self.kind.checked(examples)
        try:
            return np.asarray(self.model.predict(numbers), np.float32)
        except MlflowException as error:
            raise DataError(error.message) from None


def load(uri: str, *, trust: bool = False, patient: bool = False) -> Classifier:
    """Return the model at a URI such as ``models:/mnist-gru@champion`` or ``runs:/4fdc…/model``.

    Args:
        uri: URI of the model, or a folder with its files.
        trust: run the model's code even if it is not from this pipeline.
        patient: skip the check that the tracking server answers, because the work has already started.

    Raises:
        TrackingError: there is no such model, it does not load, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline, and not trusted; none of its code has run.
    """
    with fetched(uri, trust=trust, patient=patient) as (files, described), _explained(uri):
        start_tensorflow(usable_cores())  # otherwise the model would start it, with many lines of output
        model = pyfunc.load_model(str(files), suppress_warnings=True)
        unwrapped: Any = model.unwrap_python_model()
        graph = getattr(unwrapped, "_graph", None)  # exists in our scoring.py, which itself returns one array
        step_by_step = graph.signatures.get(BY_STEP) if graph else None
        examples: Any = model.metadata.load_input_example(str(files))
        example = None if examples is None else examples[0]
        return Classifier(model, step_by_step=step_by_step, example=example, **described)


@contextmanager
def fetched(uri: str, *, trust: bool = False, patient: bool = False) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder of a private, checked copy of a model's files, and its description; none of its code has run.

    The description holds the fields of :class:`Classifier` that its metadata determines.

    Raises:
        TrackingError: there is no such model, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline, and not trusted.
    """
    if uri.startswith(("models:/", "runs:/")):
        if not patient:
            connect()  # MLflow itself would retry for minutes
        uri = _address(uri)
    with TemporaryDirectory() as folder:
        with _explained(uri):
            files = Path(retried(download_artifacts, artifact_uri=uri, dst_path=folder))
            model = Model.load(files)
            described = _described(model, uri)
            if not trust:
                _check_code(files, model, uri)
        yield files, described


def check_serves(uri: str, *, trust: bool = False) -> None:
    """Check that a model loads, and answers an example.

    Raises:
        PipelineError: it does not.
    """
    model = load(uri, trust=trust)
    with _explained(uri):
        answer = model.probabilities(model.kind.sample())
    if not np.isfinite(answer).all():
        raise TrackingError(f"model: {uri} must answer with probabilities; it answers with {answer}.")


def _described(model: Model, uri: str) -> dict[str, Any]:
    """Return the fields of a classifier that its metadata determines.

    Raises:
        UsageError: it is not a classifier.
    """
    metadata = model.metadata or {}
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        (probabilities,) = model.signature.outputs.inputs
        kind = known.restored(metadata["kind"], metadata["example"])
        dataset, classes = str(metadata["dataset"]), [str(name) for name in metadata["class_names"]]
        temperature = float(metadata.get("temperature", 1.0))
        if probabilities.shape == (-1, len(classes)) and 0 < temperature < np.inf:
            return {"dataset": dataset, "class_names": classes, "kind": kind, "temperature": temperature}
    raise UsageError(f"model: must be a classifier that this pipeline trained; {uri} is not one.")


def _check_code(files: Path, model: Model, uri: str) -> None:
    """Check that the code of a model is ours, and remove compiled code, which Python would run without reading it.

    Raises:
        UsageError: it is not ours.
    """
    shutil.rmtree(files / "__pycache__", ignore_errors=True)
    flavor, ours = model.flavors.get(pyfunc.FLAVOR_NAME, {}), LOADED_BY | {"code": None, "data": None}
    different = ", ".join(f"{name}: {flavor.get(name)}" for name, value in ours.items() if flavor.get(name) != value)
    if not different and disk.file_digest(files / CODE.name) != disk.file_digest(CODE):
        different = CODE.name
    if different:
        raise UsageError(
            f"model: must be a classifier that this pipeline logged; {uri} differs in {different}. Its code has not "
            f"run. If you trust its author, {option('trust', True)} runs it."
        )


def _explained(uri: str) -> AbstractContextManager[None]:
    """Turn any error of a store's driver or of a model's own code into one that names the model."""
    remedy = "the URI of the model, such as models:/NAME@champion"
    return explained(f"model: {uri!r} could not be loaded", (Exception,), check=remedy)
