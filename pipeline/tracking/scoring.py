"""The code of a served model: raw images or sequences in, probabilities out.

MLflow copies this file into every model, and runs it where the model is served, so it imports nothing from this
package. The signature of the exported graph answers in milliseconds; ``keras.Model.predict`` takes tens of milliseconds
for one example. In a request, shorter sequences are padded with ``null`` at the end, which arrives as NaN.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

BRIGHTEST = 255
MOST_EXAMPLES = 10_000  # in a request: limits the memory that a single client can take
MOST_STEPS = 10_000  # of a sequence
MOST_NUMBERS = 20_000_000  # in the sequences of a request, including the padding


class Scoring(PythonModel):
    """Classifies examples, float32: images (N, H, W) of pixels 0–255, or sequences (N, T, F) with NaN after the end."""

    def load_context(self, context: Any) -> None:
        """Load the exported graph; called once, when the model is loaded."""
        self._graph = tf.saved_model.load(context.artifacts["saved_model"])  # keeps the signature's variables alive
        self._classify = self._graph.signatures["serving_default"]
        (self._input,) = self._classify.structured_input_signature[1]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Return the probabilities (N, C) float32 of N examples, whose shape MLflow has checked.

        Raises:
            MlflowException: there are too many examples, or a number is missing or not allowed; a server answers with
                400.
        """
        examples = np.asarray(model_input, np.float32)
        CHECKS[self._input](examples)
        answer = self._classify(**{self._input: tf.constant(examples)})
        probabilities: np.ndarray[Any, Any] = answer["probabilities"].numpy()
        return probabilities


def _check_pixels(pixels: np.ndarray[Any, Any]) -> None:
    if len(pixels) > MOST_EXAMPLES:
        raise MlflowException.invalid_parameter_value(
            f"images: at most {MOST_EXAMPLES:,} in a request are allowed; got {len(pixels):,}. Send them in parts."
        )
    wrong = pixels[~((pixels >= 0) & (pixels <= BRIGHTEST))]
    if wrong.size:  # null arrives as NaN
        raise MlflowException.invalid_parameter_value(
            f"pixels: must be numbers from 0 to {BRIGHTEST}; {wrong.size:,} of {pixels.size:,} are not, such as "
            f"{wrong[0]:g}."
        )


def _check_sequences(sequences: np.ndarray[Any, Any]) -> None:
    for what, received, most in (
        ("sequences in one request", len(sequences), MOST_EXAMPLES),
        ("steps of a sequence", sequences.shape[1], MOST_STEPS),
        ("numbers in one request", sequences.size, MOST_NUMBERS),
    ):
        if received > most:
            raise MlflowException.invalid_parameter_value(
                f"sequences: at most {most:,} {what} are allowed; got {received:,}. Send fewer per request."
            )
    missing = np.isnan(sequences)
    real = ~missing.all(axis=2)
    inside = np.logical_or.accumulate(real[:, ::-1], axis=1)[:, ::-1]  # up to the last real step
    empty = ~inside.any(axis=1)
    if empty.any():
        raise MlflowException.invalid_parameter_value(
            f"sequences: must have at least one step; sequence {empty.argmax()} has none."
        )
    for received, wrong in (("null or NaN", missing & inside[..., np.newaxis]), ("infinity", np.isinf(sequences))):
        if wrong.any():
            sequence, step, feature = np.argwhere(wrong)[0]
            raise MlflowException.invalid_parameter_value(
                f"sequences: must have a number for each feature of each step; got {received} for feature {feature} "
                f"at step {step} of sequence {sequence}. "
                "Only whole steps at the end of a shorter sequence may be null."
            )


CHECKS = {"pixels": _check_pixels, "sequences": _check_sequences}
"""The check of each input that a graph may have."""

set_model(Scoring())
