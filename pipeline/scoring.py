"""The served model, from code: raw pixels in, probabilities out.

MLflow copies this file into every model that it logs, and runs it wherever
the model is served: it imports nothing of this package. Calling the signature
of the exported graph answers in milliseconds; ``keras.Model.predict`` takes
tens of them for one image.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

BRIGHTEST = 255.0


class ImageClassifier(PythonModel):
    """Classifies images: pixels (N, H, W) float32, 0–255 → probabilities (N, C) float32."""

    def load_context(self, context: Any) -> None:
        """Load the exported graph; called once, when the model is loaded."""
        self._graph = tf.saved_model.load(context.artifacts["saved_model"])  # keeps the signature's variables alive
        self._classify = self._graph.signatures["serving_default"]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Return the probabilities (N, C) of the images (N, H, W).

        Raises:
            MlflowException: a pixel is not a number from 0 to 255; a server answers with 400.
        """
        pixels = np.asarray(model_input, np.float32)
        if not (pixels >= 0).all() or not (pixels <= BRIGHTEST).all():  # false for NaN, too
            raise MlflowException.invalid_parameter_value(
                f"pixels: expected numbers from 0 to 255, received {pixels.min()} to {pixels.max()}."
            )
        probabilities: np.ndarray[Any, Any] = self._classify(pixels=tf.constant(pixels))["probabilities"].numpy()
        return probabilities


set_model(ImageClassifier())
