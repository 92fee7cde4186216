"""The code of a served model of images: raw pixels in, probabilities out.

MLflow copies this file into every such model, and runs it wherever the model is
served, so it imports nothing from this package. The signature of the exported
graph answers in milliseconds; ``keras.Model.predict`` takes tens of milliseconds
for one image.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

BRIGHTEST = 255
MOST_IMAGES = 10_000  # maximum in a request; it limits the memory that a client can take


class ImageClassifier(PythonModel):
    """Classifies images: pixels (N, H, W) float32, 0–255 → probabilities (N, C) float32."""

    def load_context(self, context: Any) -> None:
        """Load the exported graph; called once, when the model is loaded."""
        self._graph = tf.saved_model.load(context.artifacts["saved_model"])  # keeps the signature's variables alive
        self._classify = self._graph.signatures["serving_default"]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Return the probabilities (N, C) of the images (N, H, W).

        MLflow has checked their shape.

        Raises:
            MlflowException: too many images, or a pixel that is not a number from 0 to 255; a server answers with 400.
        """
        pixels = np.asarray(model_input, np.float32)
        _check(pixels)
        probabilities: np.ndarray[Any, Any] = self._classify(pixels=tf.constant(pixels))["probabilities"].numpy()
        return probabilities


def _check(pixels: np.ndarray[Any, Any]) -> None:
    if len(pixels) > MOST_IMAGES:
        raise MlflowException.invalid_parameter_value(
            f"images: at most {MOST_IMAGES:,} in a request are allowed; got {len(pixels):,}. Send them in parts."
        )
    wrong = pixels[~((pixels >= 0) & (pixels <= BRIGHTEST))]
    if wrong.size:  # null arrives as NaN
        raise MlflowException.invalid_parameter_value(
            f"pixels: must be numbers from 0 to {BRIGHTEST}; {wrong.size:,} of {pixels.size:,} are not, such as "
            f"{wrong[0]:g}."
        )


set_model(ImageClassifier())
