"""Sequences: T steps of F numbers each, of unequal lengths, padded with NaN at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.kinds.kind import Answer, Box, Kind, PartlyRead, Tensor, lengths, shuffled
from pipeline.settings import Settings, option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TENTHS = np.arange(1, 11) / 10
"""The fractions of a sequence at which answers are compared."""

SORTED_BATCHES = 16
"""Number of batches that share a window, within which examples are sorted by length."""

WITHOUT_EFFECT = {"augmentation": "none", "augmented": 1.0, "distortion": 1.0, "order": "rows", "steps": 0}
"""The parameters for images only, and their defaults."""


@dataclass(frozen=True, kw_only=True)
class Sequences(Kind):
    """The kind of sequences (N, T, F).

    Attributes:
        longest: number of steps of the longest one, T.
        features: the name of each of the F numbers of a step.
        mean: mean of each feature, over all steps of the training part.
        variance: variance of each feature, over the same steps.
    """

    name, recipe, model_input = "sequences", "sequences", "sequences"
    numbers, uses_all = "numbers, null after the end of each,", True
    ratio = 0.6

    longest: int
    features: tuple[str, ...]
    mean: tuple[float, ...]
    variance: tuple[float, ...]

    @classmethod
    def of(cls, examples: NDArray[np.float32], features: Sequence[str]) -> Self:
        """Return the kind of the training sequences (N, T, F)."""
        steps = np.asarray(examples)[~np.isnan(examples).all(axis=2)].astype(np.float64)
        mean, variance = steps.mean(axis=0).tolist(), steps.var(axis=0).tolist()
        return cls(longest=examples.shape[1], features=tuple(features), mean=tuple(mean), variance=tuple(variance))

    @property
    def shape(self) -> tuple[None, int]:
        """Any number of steps, and F."""
        return None, len(self.features)

    def sample(self) -> NDArray[np.float32]:
        """Return a sequence around the mean of each feature, and a shorter one."""
        steps = max(2, min(self.longest, 8))
        waves = np.sin(np.arange(steps)[:, np.newaxis] + np.arange(len(self.features)))
        long = np.asarray(self.mean) + np.sqrt(self.variance) * waves
        short = np.where(np.arange(steps)[:, np.newaxis] < steps - 1, long, np.nan)
        return np.stack([long, short]).astype(np.float32)

    def resolved(self, settings: Settings) -> dict[str, object]:
        """Return the longest sequence as the number of steps.

        Raises:
            UsageError: a parameter is for images only.
        """
        for name in ("augmentation", "order", "steps"):
            given = getattr(settings, name)
            if given != WITHOUT_EFFECT[name] and (name, given) != ("steps", self.longest):  # as a run logs it
                instead = f"Use `{option('jitter', 0.1)}` instead" if name == "augmentation" else "Leave it out"
                raise UsageError(
                    f"{name}: must be {WITHOUT_EFFECT[name]} for sequences; got {given}, which is for images. "
                    f"{instead}, or use `{option('recipe', self.recipe)}`."
                )
        return {**WITHOUT_EFFECT, "steps": self.longest}

    def steps(self, settings: Settings) -> int:
        """Return the maximum number of steps of a sequence."""
        return self.longest

    def front(self, inputs: Tensor, settings: Settings) -> tuple[Any, Any]:
        """Return the steps, scaled to mean 0 and variance 1 of each feature over the training part; padding is 0."""
        import keras

        mask = keras.ops.logical_not(keras.ops.all(keras.ops.isnan(inputs), axis=-1))
        scaled = keras.layers.Normalization(axis=-1, mean=self.mean, variance=self.variance, name="scale")(inputs)
        return keras.ops.nan_to_num(scaled), mask

    def lengths(self, examples: Tensor) -> Tensor:
        """Return the number of steps before the padding."""
        import tensorflow as tf

        is_real = tf.logical_not(tf.reduce_all(tf.math.is_nan(examples), axis=2))
        return tf.math.count_nonzero(is_real, axis=1, dtype=tf.int32)

    def order(self, lengths: Tensor, count: int, settings: Settings, epoch: int) -> Tensor:
        """Return an order in which batches have similar lengths: windows of shuffled examples are sorted and cut.

        The batches are shuffled again, so that short and long ones alternate. A smaller last batch is not sorted.
        """
        import tensorflow as tf

        size, seed = settings.batch_size, (settings.seed, epoch)
        order, full = shuffled(count, seed).numpy(), count // size
        head, rest = np.split(order, [full * size])
        window = np.arange(len(head)) // (SORTED_BATCHES * size)
        batches = head[np.lexsort((lengths.numpy()[head], window))].reshape(full, size)
        again = shuffled(full, tf.random.experimental.stateless_fold_in(seed, 1)).numpy()
        return tf.constant(np.concatenate([batches[again].ravel(), rest]))

    def distortions(self, settings: Settings, count: int, epoch: int) -> tuple[Tensor, ...]:
        """Return noise for each step of each sequence, if ``jitter`` is not 0; padding does not change it."""
        import tensorflow as tf

        if not settings.jitter:
            return ()
        # Time comes first, so that the first steps get the same numbers for any length of the padding.
        noise = tf.random.stateless_normal((self.longest, count, len(self.features)), seed=(settings.seed, epoch))
        return (tf.transpose(noise * settings.jitter * np.sqrt(self.variance).astype(np.float32), (1, 0, 2)),)

    def distorted(self, examples: Tensor, *distortions: Tensor) -> Tensor:
        """Return the sequences of a batch with their noise."""
        import tensorflow as tf

        return examples + distortions[0][:, : tf.shape(examples)[1]] if distortions else examples

    def draw(self, axes: "Axes", example: NDArray[Any], box: Box) -> None:
        """Draw a sequence as one line per feature, in standard deviations from its mean, scaled to the box."""
        left, right, bottom, top = box
        steps = example[~np.isnan(example).all(axis=1)]
        scaled = (steps - np.asarray(self.mean)) / np.sqrt(np.maximum(self.variance, np.finfo(np.float32).tiny))
        most = max(1.0, float(np.abs(scaled).max()))
        heights = (bottom + top) / 2 + (top - bottom) / 2 * scaled / most
        for number, line in enumerate(heights.T):
            axes.plot(np.linspace(left, right, len(steps)), line, color=f"C{number % 10}", linewidth=0.9)

    def partly_read(self, examples: NDArray[Any], answer: Answer, by_step: Answer | None) -> PartlyRead:
        """Return the answers to the first tenth, two tenths, … of each sequence; any model can give them."""
        ends = np.ceil(np.outer(TENTHS, lengths(examples))).astype(int)  # (10, N)
        steps = np.arange(examples.shape[1])[:, np.newaxis]
        parts = [np.where(steps < end[:, np.newaxis, np.newaxis], examples, np.nan) for end in ends]
        answers = np.stack([answer(part).argmax(axis=1) for part in parts], axis=1)
        return PartlyRead(answers, (100 * TENTHS).tolist(), "percent of the sequence read")
