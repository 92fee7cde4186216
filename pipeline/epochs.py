"""The epochs of a run: the results of each, which one is best (its weights are kept), and when to stop early."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # the command line imports this module and should start quickly
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The results and times of one epoch.

    Costs are mean cross-entropies in nats, and accuracies are fractions of 1.
    ``epoch`` counts from 1; ``learning_rate`` is the rate of its first update.
    ``epoch_seconds`` is the time of training alone, ``epoch_cpu_seconds`` the
    CPU time of all cores in it, 0 if it was not measured.
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


T = TypeVar("T", bound=Any)
"""Something with a result on the validation part: an epoch, or a trial of a search."""


def best(history: Sequence[T]) -> T:
    """Return the best of at least one epoch, or of at least one trial; a run keeps the weights of its best epoch.

    The best has the highest validation accuracy, then the lowest validation cost, then comes first. No other place
    decides this.
    """
    return min(history, key=lambda record: (-record.val_accuracy, record.val_cost))


def is_out_of_patience(history: Sequence[EpochRecord], patience: int) -> bool:
    """Return whether to stop early: none of the last ``patience`` epochs was the best so far; 0: never."""
    return bool(patience and history) and history[-1].epoch - best(history).epoch >= patience


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a run after an epoch.

    Attributes:
        history: a record per finished epoch.
        state: the state of the trainer: weights and optimizer variables.
        best_weights: the weights of the best epoch so far.
        seconds: wall time of the run so far.
    """

    history: list[EpochRecord]
    state: "Sequence[NDArray[Any]]"
    best_weights: "Sequence[NDArray[Any]]"
    seconds: float
