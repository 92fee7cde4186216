"""A logged model, looked at before anything of it runs, and loaded: pixels in, probabilities out.

A model's files are those of whoever may write to the store, and a pyfunc runs
code of its own when it is loaded: a pickle, a module that it names, a folder
of code. So its description (``MLmodel``) is read first, as data. Only a model
from code whose file is our ``scoring.py``, of this version or of one before,
is loaded; another one only on the word of the user (``--trust``). What is
checked and what is loaded are the same files, a copy that nobody else writes to.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import PyFuncModel, load_model
from numpy.typing import ArrayLike, NDArray

from pipeline import digests
from pipeline.data.image_form import Form
from pipeline.errors import DataError, PipelineError, TrackingError, UsageError, first_line
from pipeline.machine import usable_cores
from pipeline.settings import option
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, models

CODE = Path(__file__).with_name("scoring.py")

FORMER_CODE = frozenset(
    {
        "e535b1e9928fa8984e38af0d009031d61b30f5ad7b64377af4ba49ac09e2bd5e",
        "b8a72ef109e8a97aa9932d6c2ff3051191c1dc8b3c72623b45945b88807ef2c9",
        "8152184b635453233ead4125eea6acf7a4e652dc1d30ddbb31d73a5022f98272",
        "734e5a7a09c2dc29ddc01805b9c6bdebfe2ff542de0d7504022d573771d2092e",
    }
)
"""Digests of ``scoring.py`` as it was, so that the models of former versions load. Whoever edits it adds its digest."""

BY_STEP = "probabilities_by_step"
"""The second signature of the graph, and what it gives."""

StepByStep = Callable[..., Mapping[str, Any]]
"""Takes ``pixels`` (N, H, W) float32."""

AT_ONCE_BY_STEP = 2**16
"""Images times steps that pass through a network at once, whose outputs after each step are all kept meanwhile."""

LOADER = "mlflow.pyfunc.loaders.code_model"
ARTIFACTS = {"saved_model": "artifacts/saved_model", "keras_model": "artifacts/model.keras"}


ADDED_TO_A_COPY = "registered_model_meta"
"""The file in which MLflow notes by which name and version a copy came."""


class Classifier:
    """A loaded model.

    Attributes:
        dataset: the name of the data set that it was trained on.
        class_names: one per class, from 0.
        form: of the images that it reads.
        height: rows of an image, in pixels.
        width: columns of an image, in pixels.
        temperature: at which its probabilities are as sure as they are right, by its validation images; 1 where it is
            not known.
    """

    def __init__(
        self,
        model: PyFuncModel,
        *,
        dataset: str,
        class_names: Sequence[str],
        form: Form,
        temperature: float = 1.0,
        step_by_step: StepByStep | None = None,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.class_names = tuple(class_names)
        self.form = form
        self.height = form.height
        self.width = form.width
        self.temperature = temperature
        self._step_by_step = step_by_step

    @property
    def tells_steps(self) -> bool:
        """Whether it says what it would answer after each step."""
        return self._step_by_step is not None

    def by_step(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities (N, T, C) of images (N, H, W) if reading them ended after each step.

        Raises:
            UsageError: it does not tell.
        """
        if self._step_by_step is None:
            raise UsageError(
                "by_step: expected a model that tells its answer after each step, received one that does not: it reads "
                "in both directions, is a layer of one's own that gives but its last output, or is of a former version."
            )
        most = max(1, AT_ONCE_BY_STEP // self.steps)
        parts = [images[start : start + most] for start in range(0, max(1, len(images)), most)]
        return np.concatenate([self._step_by_step(pixels=part.astype(np.float32))[BY_STEP] for part in parts])

    @cached_property
    def steps(self) -> int:
        """Steps that it reads an image in, T; 1 where it does not tell."""
        if self._step_by_step is None:
            return 1
        return int(self._step_by_step(pixels=np.zeros((1, self.height, self.width), np.float32))[BY_STEP].shape[1])

    def probabilities(self, pixels: ArrayLike) -> NDArray[np.float32]:
        """Return the probabilities (N, C) of images (N, H, W), 0–255. Several threads may call it at once.

        Raises:
            DataError: they are no images of this size, or hold what is no number from 0 to 255.
        """
        images = f"images: expected the shape (N, {self.height}, {self.width}), received"
        try:
            numbers = np.asarray(pixels)
        except ValueError:
            raise DataError(f"{images} lists of unequal lengths.") from None
        if numbers.dtype.kind not in "iuf":
            received = numbers.dtype.name if numbers.dtype.kind != "O" else "what is none, or too large for one"
            raise DataError(f"pixels: expected numbers from 0 to 255, received {received}.")
        if numbers.shape[1:] != (self.height, self.width):
            raise DataError(f"{images} {numbers.shape}.")
        with np.errstate(over="ignore"):  # what is infinite then is refused
            numbers = numbers.astype(np.float32)
        try:
            return np.asarray(self.model.predict(numbers), np.float32)
        except MlflowException as error:
            raise DataError(error.message) from None


def load(address: str, *, trust: bool = False, patient: bool = False) -> Classifier:
    """Return the model at an address such as ``models:/mnist-gru@champion`` or ``runs:/4fdc…/model``.

    Args:
        address: of the model.
        trust: run its code whatever it is.
        patient: wait for a tracking server that is away, in the midst of the work; else it has to answer.

    Raises:
        TrackingError: there is none, it does not load, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline, and not trusted; none of its code has run.
    """
    with fetched(address, trust=trust, patient=patient) as files, _explained(address):
        start_tensorflow(usable_cores())  # the model would, with a page of lines
        with models.unprobed():
            model = load_model(str(files))
        described = _described(str(files), address, trust=trust)
        return Classifier(model, step_by_step=_step_by_step(model), **described)


@contextmanager
def fetched(address: str, *, trust: bool = False, patient: bool = False) -> Iterator[Path]:
    """Give the folder of a model's files, a copy that nobody else writes to, looked at: none of its code has run.

    Raises:
        TrackingError: there is none, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline, and not trusted.
    """
    if address.startswith(("models:/", "runs:/")):
        if not patient:
            connection.connect()  # MLflow itself would try for minutes
        address = models.address(address)
    with TemporaryDirectory() as folder:
        with _explained(address):
            fetch = partial(connection.patiently, _fetch) if patient else _fetch
            files = fetch(address, folder, trust=trust)
            if not trust:
                _check_code(files, address)
        yield files


def _fetch(address: str, folder: str, *, trust: bool) -> Path:
    """Copy the files of a model into a folder, and return theirs; their description was looked at, here and there."""
    _described(address, address, trust=trust)  # first: a foreign model may be large
    files = Path(download_artifacts(artifact_uri=address, dst_path=folder))
    _described(str(files), address, trust=trust)
    return files


def digest(files: Path) -> str:
    """Return one digest of a model's files; what MLflow adds to a copy, by which address it came, is none of them."""
    listed = sorted(file for file in files.rglob("*") if file.is_file() and file.name != ADDED_TO_A_COPY)
    return digests.of_texts(*(f"{file.relative_to(files).as_posix()} {digests.of_file(file)}" for file in listed))


def _step_by_step(model: PyFuncModel) -> StepByStep | None:
    """Return the second signature of the graph that the code of a model has loaded, if it has one.

    What the code itself answers stays one array, as MLflow serves it.
    """
    unwrapped: Any = model.unwrap_python_model()  # type: ignore[no-untyped-call]
    graph = getattr(unwrapped, "_graph", None)
    return graph.signatures.get(BY_STEP) if graph else None


def check_serves(address: str, *, trust: bool = False) -> None:
    """Check that the model at an address loads, and answers an image.

    Raises:
        PipelineError: it does not.
    """
    model = load(address, trust=trust)
    with _explained(address):
        answer = model.probabilities(np.zeros((1, model.height, model.width), np.uint8))
    if not np.isfinite(answer).all():
        raise TrackingError(f"model: expected a model that serves, received {address}, which answers with {answer}.")


def _described(files: str, address: str, *, trust: bool) -> dict[str, Any]:
    """Return what a classifier says of itself, from the description alone, of which nothing is run.

    Raises:
        UsageError: it is none; or, unless it is trusted, MLflow would load it in another way than from code.
    """
    model = Model.load(files)
    known = model.metadata or {}
    try:
        classes = [str(name) for name in known["class_names"]]
        height, width = _shape(model.signature, classes=len(classes))
        dataset = str(known["dataset"])
        form = Form.described(known, dataset=dataset, height=height, width=width)
        temperature = _temperature(known)
        described = {"dataset": dataset, "class_names": classes, "form": form, "temperature": temperature}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"model: expected a classifier that this pipeline trained, received {address}, another model."
        ) from None
    if not trust and (found := _other_loading(model.flavors.get("python_function", {}))):
        raise _refusal(address, found)
    return described


def _shape(signature: ModelSignature, *, classes: int) -> tuple[int, int]:
    """Return height and width of the images (N, H, W) of which a model says the probabilities (N, ``classes``).

    Raises:
        AttributeError: it has no signature, or one of columns.
        ValueError: it takes or says something else.
    """
    (images,), (probabilities,) = signature.inputs.inputs, signature.outputs.inputs
    _, height, width = images.shape
    if probabilities.shape != (-1, classes):
        raise ValueError(probabilities.shape)
    return height, width


def _temperature(known: Mapping[str, Any]) -> float:
    """Return the temperature that a model has, 1 where it has none.

    Raises:
        ValueError: it is no positive number.
    """
    temperature = float(known.get("temperature", 1.0))
    if not 0 < temperature < np.inf:
        raise ValueError(temperature)
    return temperature


def _other_loading(flavor: Mapping[str, Any]) -> str | None:
    """Return what MLflow would load by this description, if it is anything but our code and our artifacts."""
    loader = flavor.get("loader_module")
    artifacts = {name: artifact["path"] for name, artifact in (flavor.get("artifacts") or {}).items()}
    if loader != LOADER:
        return f"one that {loader} loads" if loader else "one without a Python function"
    if flavor.get("code") or "data" in flavor:
        return "one with a folder of code or data of its own"
    if PurePath(flavor["model_code_path"]).name != CODE.name or artifacts != ARTIFACTS:
        return f"one of other files ({flavor['model_code_path']}, {', '.join(artifacts.values())})"
    return None


def _check_code(files: Path, address: str) -> None:
    """Check the code of a model whose description is that of ours, and leave Python no other code to run in its place.

    Raises:
        UsageError: it is not ours.
    """
    shutil.rmtree(files / "__pycache__", ignore_errors=True)  # Python would run a compiled file without asking for this
    found = code_digest(files / CODE.name)
    if found not in FORMER_CODE | {code_digest(CODE)}:
        raise _refusal(address, f"one whose {CODE.name} is another (SHA-256 {found})")


def code_digest(file: Path) -> str:
    """Return the SHA-256 of a Python file; a checkout for Windows has other ends of lines, which are the same code."""
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _refusal(address: str, found: str) -> UsageError:
    return UsageError(
        f"model: expected a classifier that this pipeline logged, received {address}, {found}. Its code has not run. "
        f"If you trust whoever made it, {option('trust', True)} runs it."
    )


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn whatever a store's driver or a model's own code raises into an error that names the address."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # each store and each model has kinds of its own
        raise TrackingError(
            f"model: expected the address of a model that loads, such as models:/NAME@champion, received {address!r}. "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
