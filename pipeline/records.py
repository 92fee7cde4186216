"""The history of a run: one record per epoch, and the only rule for the epoch to keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:  # the command line imports this module, and should answer at once
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of the history: what an epoch cost and reached.

    Costs are mean cross-entropies in nats, accuracies fractions of 1,
    ``epoch`` counts from 1, ``learning_rate`` is that of its first update,
    ``epoch_seconds`` is training alone, ``epoch_cpu_seconds`` the processor time
    of all cores in it; 0 in records of former versions, which did not measure it.
    """

    epoch: int
    cost: float
    accuracy: float
    val_cost: float
    val_accuracy: float
    learning_rate: float
    epoch_seconds: float
    samples_per_second: float
    epoch_cpu_seconds: float = 0.0


class Validated(Protocol):
    """Something with a result on the validation part: an epoch, or a trial of a search."""

    @property
    def val_accuracy(self) -> float:
        """Fraction of 1."""

    @property
    def val_cost(self) -> float:
        """Mean cross-entropy in nats."""


T = TypeVar("T", bound=Validated)


def kept(history: Sequence[T]) -> T:
    """Return the best of at least one result: of epochs, the one whose weights are kept.

    That is the one of the best validation accuracy; among equals the lowest validation cost; then the first.
    """
    return min(history, key=lambda record: (-record.val_accuracy, record.val_cost))


def is_out_of_patience(history: Sequence[EpochRecord], patience: int) -> bool:
    """Return whether a training ends here: the last ``patience`` epochs, none of them kept, are enough; 0: never."""
    return bool(patience and history) and history[-1].epoch - kept(history).epoch >= patience


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A training after an epoch.

    Attributes:
        history: a record per finished epoch.
        state: of the trainer: weights, and what the optimizer remembers.
        best_weights: those of the epoch that would be kept if this were the last.
        seconds: wall time of the training so far.
    """

    history: list[EpochRecord]
    state: "Sequence[NDArray[Any]]"
    best_weights: "Sequence[NDArray[Any]]"
    seconds: float
