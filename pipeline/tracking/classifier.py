"""A logged model, checked before any of its code runs, and loaded: examples in, probabilities out.

Anyone with write access to the store can write a model's files, and a pyfunc runs code when it is loaded: a pickle, a
module that it names, a folder of code. So its description (``MLmodel``) is read first, as data. A model is loaded only
if its code is our ``scoring.py``, or if the user trusts it (``--trust``). The checked files are the loaded files: a
copy that no other process writes to.
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
from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.machine import usable_cores
from pipeline.settings import option
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, models

BY_STEP = "probabilities_by_step"
"""The name of the second signature of the graph, and of its output."""

StepByStep = Callable[..., Mapping[str, Any]]
"""Takes examples as float32, by the name of the input."""

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
"""The file in which MLflow records the name and version under which a copy was requested."""


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
        example: one of those that it was tested on; None: not known.
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

    @property
    def form(self) -> Images:
        """The form of the images that it reads.

        Raises:
            UsageError: it reads other examples.
        """
        if not isinstance(self.kind, Images):
            raise UsageError(f"model: expected a model of images, received one of {self.kind.name}.")
        return self.kind

    @property
    def height(self) -> int:
        """Rows of an image, in pixels."""
        return self.form.height

    @property
    def width(self) -> int:
        """Columns of an image, in pixels."""
        return self.form.width

    def by_step(self, examples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (N, T, C) of examples if reading them ended after each step.

        Raises:
            UsageError: the model does not answer after each step.
        """
        if self.step_by_step is None:
            raise UsageError(
                "by_step: expected a model that answers after each step, received one that does not: it reads in both "
                "directions, or has a custom cell that returns only its last output."
            )
        most = max(1, AT_ONCE_BY_STEP // self.steps(examples))
        parts = [self.kind.checked(examples[start : start + most]) for start in range(0, max(1, len(examples)), most)]
        return np.concatenate([self.step_by_step(**{self.kind.model_input: part})[BY_STEP] for part in parts])

    def steps(self, examples: NDArray[Any]) -> int:
        """Return T, the number of answers per example; 1 if the model does not answer after each step."""
        if self.step_by_step is None:
            return 1
        one = self.kind.checked(examples[:1]) if len(examples) else self.kind.sample()
        return int(self.step_by_step(**{self.kind.model_input: one})[BY_STEP].shape[1])

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


def load(address: str, *, trust: bool = False, patient: bool = False) -> Classifier:
    """Return the model at an address such as ``models:/mnist-gru@champion`` or ``runs:/4fdc…/model``.

    Args:
        address: address of the model.
        trust: run the model's code even if it is not from this pipeline.
        patient: skip the check that the tracking server answers, because the work has already started.

    Raises:
        TrackingError: there is no such model, it does not load, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline, and not trusted; none of its code has run.
    """
    with fetched(address, trust=trust, patient=patient) as files, _explained(address):
        start_tensorflow(usable_cores())  # else the model does, with many lines of output
        model = load_model(str(files), suppress_warnings=True)
        unwrapped: Any = model.unwrap_python_model()  # type: ignore[no-untyped-call]
        graph = getattr(unwrapped, "_graph", None)  # of our scoring.py; what it answers itself is one array
        step_by_step = graph.signatures.get(BY_STEP) if graph else None
        examples: Any = model.metadata.load_input_example(str(files))
        described = _described(str(files), address, trust=trust)
        example = None if examples is None else examples[0]
        return Classifier(model, step_by_step=step_by_step, example=example, **described)


@contextmanager
def fetched(address: str, *, trust: bool = False, patient: bool = False) -> Iterator[Path]:
    """Yield the folder of a private, checked copy of a model's files; none of its code has run.

    Raises:
        TrackingError: there is no such model, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline, and not trusted.
    """
    if address.startswith(("models:/", "runs:/")):
        if not patient:
            connection.connect()  # MLflow itself would try for minutes
        address = models.address(address)
    with TemporaryDirectory() as folder:
        with _explained(address):
            _described(address, address, trust=trust)  # first: a foreign model may be large
            files = Path(connection.retried(download_artifacts, artifact_uri=address, dst_path=folder))
            described = _described(str(files), address, trust=trust)
            if not trust:
                _check_code(files, models.code(described["kind"]), address)
        yield files


def kind(files: Path) -> Kind:
    """Return the kind of the examples of a model whose files are here."""
    found: Kind = _described(str(files), str(files), trust=True)["kind"]
    return found


def digest(files: Path) -> str:
    """Return one digest of a model's files, except the file that MLflow adds to a copy."""
    listed = sorted(file for file in files.rglob("*") if file.is_file() and file.name != ADDED_TO_A_COPY)
    return disk.text_digest(*(f"{file.relative_to(files).as_posix()} {disk.file_digest(file)}" for file in listed))


def check_serves(address: str, *, trust: bool = False) -> None:
    """Check that the model at an address loads, and answers an example.

    Raises:
        PipelineError: it does not.
    """
    model = load(address, trust=trust)
    with _explained(address):
        answer = model.probabilities(model.kind.sample())
    if not np.isfinite(answer).all():
        raise TrackingError(f"model: expected a model that serves, received {address}, which answers with {answer}.")


def _described(files: str, address: str, *, trust: bool) -> dict[str, Any]:
    """Return the description of a classifier as read from its metadata, which runs no code.

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
        raise UsageError(
            f"model: expected a classifier that this pipeline trained, received {address}, which is not one."
        )
    if not trust and (found := _differences(model.flavors.get("python_function", {}), kind)):
        raise _refusal(address, f"which MLflow loads in another way ({found})")
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


def _check_code(files: Path, code: Path, address: str) -> None:
    """Check that the code of a model is ours, and remove compiled code that Python would run in its place.

    Raises:
        UsageError: it is not ours.
    """
    shutil.rmtree(
        files / "__pycache__", ignore_errors=True
    )  # Python would run a compiled file without reading the source
    found = disk.file_digest(files / code.name)
    if found != disk.file_digest(code):
        raise _refusal(address, f"whose {code.name} differs (SHA-256 {found})")


def _refusal(address: str, found: str) -> UsageError:
    return UsageError(
        f"model: expected a classifier that this pipeline logged, received {address}, {found}. Its code has not run. "
        f"If you trust its author, {option('trust', True)} runs it."
    )


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn anything that a store's driver or a model's own code raises into an error that names the address."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # each store and each model raises other kinds
        raise TrackingError(
            f"model: expected the address of a model that loads, such as models:/NAME@champion, received {address!r}. "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
