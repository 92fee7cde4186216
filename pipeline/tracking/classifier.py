"""A logged model, loaded: pixels in, probabilities out."""

from collections.abc import Sequence

import numpy as np
from mlflow.pyfunc import PyFuncModel, load_model
from numpy.typing import NDArray

from pipeline.errors import TrackingError, UsageError
from pipeline.settings import usable_cores
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection


class Classifier:
    """A loaded model.

    Attributes:
        dataset: the name of the data set that it was trained on.
        class_names: one per class, from 0.
        height: rows of an image, in pixels.
        width: columns of an image, in pixels.
    """

    def __init__(
        self, model: PyFuncModel, *, dataset: str, class_names: Sequence[str], height: int, width: int
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.class_names = tuple(class_names)
        self.height = height
        self.width = width

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities (N, C) of images (N, H, W), 0–255. Several threads may call it at once."""
        return np.asarray(self.model.predict(pixels.astype(np.float32)), np.float32)


def load(address: str) -> Classifier:
    """Return the model at an address such as ``models:/mnist-gru@champion`` or ``runs:/4fdc…/model``.

    Raises:
        TrackingError: there is none, it does not load, or the tracking server does not answer.
        UsageError: it is not a classifier of this pipeline.
    """
    if address.startswith(("models:/", "runs:/")):
        connection.connect()  # MLflow itself would try for minutes
    start_tensorflow(usable_cores())  # the model would, with a page of lines
    with connection.explained(
        f"model: expected the address of a model, such as models:/NAME@champion, got {address!r}"
    ):
        model = load_model(address)
    known, schema = model.metadata.metadata or {}, model.metadata.signature
    if "class_names" not in known or "dataset" not in known or schema is None:
        raise UsageError(f"model: expected a classifier that this pipeline trained, received {address}, another model.")
    height, width = schema.inputs.inputs[0].shape[1:]
    return Classifier(model, dataset=known["dataset"], class_names=known["class_names"], height=height, width=width)


def check_serves(address: str) -> None:
    """Check that the model at an address loads, and answers an image.

    Raises:
        PipelineError: it does not.
    """
    model = load(address)
    with connection.explained(f"model: expected a model that serves, received {address}"):
        answer = model.probabilities(np.zeros((1, model.height, model.width), np.uint8))
    if not np.isfinite(answer).all():
        raise TrackingError(f"model: expected a model that serves, received {address}, which answers with {answer}.")
