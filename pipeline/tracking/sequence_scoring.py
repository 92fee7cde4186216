"""The code of a served model of sequences: raw steps in, probabilities out.

MLflow copies this file into every such model, and runs it wherever the model is served, so it imports nothing from this
package. Shorter sequences of a request are padded with ``null`` at the end, which arrives as NaN.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

MOST_SEQUENCES = 10_000
"""Maximum sequences in a request: limits the memory that a single client can take."""

MOST_STEPS = 10_000
"""Maximum steps of a sequence."""

MOST_NUMBERS = 20_000_000
"""Maximum numbers in a request, including the padding."""


class SequenceClassifier(PythonModel):
    """Classifies sequences: (N, T, F) float32, NaN after the end of each → probabilities (N, C) float32."""

    def load_context(self, context: Any) -> None:
        """Load the exported graph; called once, when the model is loaded."""
        self._graph = tf.saved_model.load(context.artifacts["saved_model"])  # keeps the signature's variables alive
        self._classify = self._graph.signatures["serving_default"]

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Return the probabilities (N, C) of the sequences (N, T, F).

        MLflow has checked F.

        Raises:
            MlflowException: too many sequences or steps, an empty one, a missing or an infinite number; a server
                answers with 400.
        """
        sequences = np.asarray(model_input, np.float32)
        _check(sequences)
        probabilities: np.ndarray[Any, Any] = self._classify(sequences=tf.constant(sequences))["probabilities"].numpy()
        return probabilities


def _check(sequences: np.ndarray[Any, Any]) -> None:
    count, steps, _ = sequences.shape
    for what, received, most in (
        ("sequences in one request", count, MOST_SEQUENCES),
        ("steps of a sequence", steps, MOST_STEPS),
        ("numbers in one request", sequences.size, MOST_NUMBERS),
    ):
        if received > most:
            raise MlflowException.invalid_parameter_value(
                f"sequences: at most {most:,} {what} are allowed; got {received:,}. Send fewer per request."
            )
    missing = np.isnan(sequences)
    real = ~missing.all(axis=2)
    lengths = np.where(real.any(axis=1), steps - real[:, ::-1].argmax(axis=1), 0) if steps else np.zeros(count, int)
    if not lengths.all():
        raise MlflowException.invalid_parameter_value(
            f"sequences: must have at least one step; sequence {int(lengths.argmin())} has none."
        )
    inside = (np.arange(steps) < lengths[:, np.newaxis])[..., np.newaxis]
    for received, wrong in (("null or NaN", missing & inside), ("infinity", np.isinf(sequences))):
        if wrong.any():
            sequence, step, feature = np.argwhere(wrong)[0]
            raise MlflowException.invalid_parameter_value(
                f"sequences: must have a number for each feature of each step; got {received} for feature {feature} "
                f"at step {step} of sequence {sequence}. "
                "Only whole steps at the end of a shorter sequence may be null."
            )


set_model(SequenceClassifier())
