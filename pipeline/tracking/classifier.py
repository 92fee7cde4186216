"""A logged model, checked before any of its code runs, and loaded: examples in, probabilities out.

Anyone with write access to the store can write a model's files, and a pyfunc runs code when it is loaded: a pickle, a
module that it names, a folder of code. So its description (``MLmodel``) is read first, as data. A model is loaded only
if its code is this package's ``scoring.py``, or if the user trusts it (``--trust``). The checked files are also the
files that are loaded: a copy that no other process writes to.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, load_model
from numpy.typing import ArrayLike, NDArray

from pipeline import disk
from pipeline.errors import DataError, PipelineError, TrackingError, UsageError, first_line
from pipeline.kinds import known
from pipeline.kinds.kind import Kind
from pipeline.machine import usable_cores
from pipeline.settings import option
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, models

BY_STEP = "probabilities_by_step"
"""The name of the second signature of the graph, and of its output."""

StepByStep = Callable[..., Mapping[str, Any]]
"""Takes examples as float32, under the name of the model's input."""

AT_ONCE_BY_STEP = 2**16
"""Maximum number of examples times steps in one pass through a network, which keeps the outputs of all steps."""

LOADED_BY = {
    "loader_module": "mlflow.pyfunc.loaders.code_model",
    "artifacts": {"saved_model": "artifacts/saved_model", "keras_model": "artifacts/model.keras"},
    "code": None,
    "data": None,
}
"""How MLflow loads a model of this pipeline, by the names in its description."""

ADDED_TO_A_COPY = "registered_model_meta"
"""The file in which MLflow records the name and version that were requested."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded model.

    Attributes:
        model: the model loaded by MLflow.
        dataset: the name of the data set that it was trained on.
        class_names: one per class, from 0.
        kind: the kind of its examples.
        temperature: the temperature at which its confidence matches its accuracy on the validation examples.
        step_by_step: gives the answers after each step; None if the model has none.
        example: a test example; None: not known.
    """

    model: PyFuncModel
    dataset: str
    class_names: Sequence[str]
    kind: Kind
    temperature: float = 1.0
    step_by_step: StepByStep | None = None
    example: NDArray[Any] | None = None

    @property
    def tells_by_step(self) -> bool:
        """Whether the model answers after each step."""
        return self.step_by_step is not None

    def by_step(self, examples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (N, T, C) of examples if reading them ended after each step.

        Raises:
            UsageError: the model does not answer after each step.
        """
        step_by_step = self.step_by_step
        if step_by_step is None:
            raise UsageError(
                "by_step: needs a model that answers after each step; this one reads in both directions, or has a "
                "custom cell that returns only its last output."
            )

        def answers(first: int, count: int) -> NDArray[np.float32]:
            part = self.kind.checked(examples[first : first + count])
            return np.asarray(step_by_step(**{self.kind.model_input: part})[BY_STEP])

        most = max(1, AT_ONCE_BY_STEP // answers(0, 1).shape[1])
        return np.concatenate([answers(start, most) for start in range(0, len(examples), most)])

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
        model = load_model(str(files), suppress_warnings=True)
        unwrapped: Any = model.unwrap_python_model()  # type: ignore[no-untyped-call]
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
            connection.connect()  # MLflow itself would retry for minutes
        uri = models.address(uri)
    with TemporaryDirectory() as folder:
        with _explained(uri):
            _described(uri, uri, trust=trust)  # first: a foreign model may be large
            files = Path(connection.retried(download_artifacts, artifact_uri=uri, dst_path=folder))
            described = _described(str(files), uri, trust=trust)
            if not trust:
                _check_code(files, models.code(described["kind"]), uri)
        yield files, described


def digest(files: Path) -> str:
    """Return one digest of a model's files, except the file that MLflow adds to a copy."""
    listed = sorted(file for file in files.rglob("*") if file.is_file() and file.name != ADDED_TO_A_COPY)
    return disk.text_digest(*(f"{file.relative_to(files).as_posix()} {disk.file_digest(file)}" for file in listed))


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


def _described(files: str, uri: str, *, trust: bool) -> dict[str, Any]:
    """Return the description of a classifier from its metadata; this runs no code.

    Raises:
        UsageError: it is not a classifier; or it is not trusted, and MLflow would not load it from code.
    """
    model = Model.load(files)
    metadata = model.metadata or {}
    try:
        (probabilities,) = model.signature.outputs.inputs
        kind = known.restored(metadata["kind"], metadata["example"])
        dataset, classes = str(metadata["dataset"]), [str(name) for name in metadata["class_names"]]
        temperature = float(metadata.get("temperature", 1.0))
        is_ours = probabilities.shape == (-1, len(classes)) and 0 < temperature < np.inf
    except (AttributeError, KeyError, TypeError, ValueError):
        is_ours = False
    if not is_ours:
        raise UsageError(f"model: must be a classifier that this pipeline trained; {uri} is not one.")
    if not trust and (found := _differences(model.flavors.get("python_function", {}), kind)):
        raise _refusal(uri, f"MLflow loads it in another way ({found})")
    return {"dataset": dataset, "class_names": classes, "kind": kind, "temperature": temperature}


def _differences(flavor: Mapping[str, Any], kind: Kind) -> str:
    """Return the differences between a model's loading instructions and ours; an empty text if there are none."""
    ours = LOADED_BY | {"model_code_path": kind.code}
    found = {
        "loader_module": flavor.get("loader_module"),
        "model_code_path": PurePath(str(flavor.get("model_code_path"))).name,
        "artifacts": {name: artifact["path"] for name, artifact in (flavor.get("artifacts") or {}).items()},
        "code": flavor.get("code"),
        "data": flavor.get("data"),
    }
    return ", ".join(f"{name}: {value}" for name, value in found.items() if value != ours[name])


def _check_code(files: Path, code: Path, uri: str) -> None:
    """Check that the code of a model is ours, and remove compiled code, which Python would run without reading it.

    Raises:
        UsageError: it is not ours.
    """
    shutil.rmtree(files / "__pycache__", ignore_errors=True)
    found = disk.file_digest(files / code.name)
    if found != disk.file_digest(code):
        raise _refusal(uri, f"its {code.name} differs (SHA-256 {found})")


def _refusal(uri: str, found: str) -> UsageError:
    return UsageError(
        f"model: must be a classifier that this pipeline logged; {uri} is not: {found}. Its code has not run. "
        f"If you trust its author, {option('trust', True)} runs it."
    )


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn any error of a store's driver or of a model's own code into one that names the model."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # each store and each model raises its own kinds of errors
        # Other errors, such as a KeyError of the model's code, may say nothing without their name.
        kind = "" if isinstance(error, MlflowException | OSError) else f"{type(error).__name__}: "
        raise TrackingError(
            f"model: {uri!r} could not be loaded: {kind}{first_line(error).rstrip('.')}. Give the URI of a model, such "
            "as models:/NAME@champion."
        ) from None
