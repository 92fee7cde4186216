"""The interface of a kind of example, such as an image or a sequence.

Shapes: N examples, B of them in a batch, T steps, I inputs per step, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError

if TYPE_CHECKING:  # the command line imports this module, and should answer immediately
    from matplotlib.axes import Axes

    from pipeline.settings import Settings


Answer = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Returns the probabilities of examples, (N, C) or after each step (N, T, C)."""


class PartlyRead(NamedTuple):
    """Answers of a model to K beginnings of each of N examples.

    Attributes:
        answers: the most probable class, (N, K).
        read: how much of an example each beginning contains, (K,).
        what: unit of ``read``, such as "steps read".
    """

    answers: NDArray[np.intp]
    read: Sequence[float]
    what: str


Tensor = Any
"""A tensor of TensorFlow or Keras, which are imported only where they compute, because that takes seconds."""

Box = tuple[float, float, float, float]
"""Left, right, bottom and top of a rectangle in a pair of axes."""

EXAMPLES = 3
"""Number of dimensions of an array of examples, of either kind."""


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """A kind of examples, with the properties that all examples of a data set share. Equal kinds fit the same model.

    Attributes:
        name: plural noun, used in sentences and file names.
        recipe: default recipe.
        model_input: name of a model's input.
        numbers: the numbers of an example, for errors.
        uses_all: whether each epoch trains on every example, however small the last batch is.
        ratio: height to width of the drawing of an example.
    """

    name: ClassVar[str]
    recipe: ClassVar[str]
    model_input: ClassVar[str]
    numbers: ClassVar[str]
    uses_all: ClassVar[bool]

    # --- the data -------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """The shape of an example as a model takes it; None: any size."""

    def checked(self, examples: ArrayLike) -> NDArray[np.float32]:
        """Return examples as float32, as a model takes them; numbers that are too large become infinite.

        Raises:
            DataError: they are not numbers of the shape of this kind.
        """
        shape = f"(N, {', '.join('steps' if side is None else str(side) for side in self.shape)})"
        rule = f"{self.model_input}: must be {self.numbers} of the shape {shape}"
        try:
            numbers = np.asarray(examples)
            if numbers.dtype == object:  # JSON contains null; other content keeps its type
                numbers = np.array(np.where(numbers == None, np.nan, numbers).tolist())  # noqa: E711 - of each
        except ValueError:
            raise DataError(f"{rule}; got lists of unequal lengths.") from None
        sides = [side for side in self.shape if side is not None]
        fits = numbers.ndim == EXAMPLES and 0 not in numbers.shape[1:] and [*numbers.shape[-len(sides) :]] == sides
        if numbers.dtype.kind not in "iuf" or not fits:
            raise DataError(f"{rule}; got {numbers.dtype.name} of the shape {numbers.shape}.")
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32)

    @abstractmethod
    def sample(self) -> NDArray[Any]:
        """Return two artificial examples, float32, to compare the answers of two models."""

    # --- the network ----------------------------------------------------------------------------------------------

    @abstractmethod
    def resolved(self, settings: "Settings") -> dict[str, object]:
        """Return the parameters that this kind determines, by name.

        Raises:
            UsageError: a parameter does not fit this kind.
        """

    @abstractmethod
    def steps(self, settings: "Settings") -> int:
        """Return T, the maximum number of steps of an example."""

    @abstractmethod
    def front(self, inputs: Tensor, settings: "Settings") -> tuple[Any, Any]:
        """Return the first layers of a network: steps (B, T, I), scaled, and which of them are real (B, T) or None."""

    def lengths(self, examples: Tensor) -> Tensor | None:
        """Return the number of steps of each example (B,), int32; None if all have T."""
        return None

    def order(self, lengths: Tensor | None, count: int, settings: "Settings", epoch: int) -> Tensor:
        """Return the numbers 0 to N - 1 in the order in which an epoch cuts them into batches, the smaller one last.

        Args:
            lengths: lengths of the training examples, as ``lengths`` returns them.
            count: N.
            settings: the seed and the size of a batch are used.
            epoch: its number.
        """
        return shuffled(count, (settings.seed, epoch))

    @abstractmethod
    def distortions(self, settings: "Settings", count: int, epoch: int) -> tuple[Tensor, ...]:
        """Return the distortions of N examples in an epoch, (N, …) each; they depend on the seed and the epoch."""

    @abstractmethod
    def distorted(self, examples: Tensor, *distortions: Tensor) -> Tensor:
        """Return the examples of a batch with their distortions."""

    # --- pictures and answers -------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def ratio(self) -> float:
        """Height to width of the drawing of an example."""

    @abstractmethod
    def draw(self, axes: "Axes", example: NDArray[Any], box: Box) -> None:
        """Draw an example into a box of a pair of axes."""

    def png(self, example: NDArray[Any]) -> bytes:
        """Return a small picture of an example."""
        from matplotlib.figure import Figure

        height = min(max(self.ratio, 0.2), 5)
        figure = Figure(figsize=(1.5, 1.5 * height), dpi=96, facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        self.draw(axes, example, (0, 1, 0, height))
        axes.set(xlim=(0, 1), ylim=(0, height))
        axes.set_axis_off()
        written = BytesIO()
        figure.savefig(written, format="png", metadata={"Software": ""})
        return written.getvalue()

    @abstractmethod
    def partly_read(self, examples: NDArray[Any], answer: Answer, by_step: Answer | None) -> PartlyRead | None:
        """Return a model's answers to the beginnings of N examples; None if the model cannot give them.

        Args:
            examples: N examples.
            answer: answers examples.
            by_step: answers after each step; None if the model does not.
        """


def trimmed(examples: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the examples of a batch, of these ``lengths``, without the steps that are padding in all of them."""
    import tensorflow as tf

    return examples if lengths is None else examples[:, : tf.reduce_max(lengths)]


def shuffled(count: int, seed: tuple[int, int]) -> Tensor:
    """Return the numbers 0 to ``count`` - 1 in an order that is a function of the seed alone."""
    import tensorflow as tf

    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=seed)


def lengths(examples: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of steps of each of N sequences (N, T, F), up to the last step with a value."""
    real: NDArray[np.bool_] = np.asarray(~np.isnan(examples).all(axis=2))
    return np.asarray(np.where(real.any(axis=1), real.shape[1] - real[:, ::-1].argmax(axis=1), 0))
