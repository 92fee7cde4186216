"""How a stage tells whoever watches it how far it is, without printing.

Stages take a :class:`Reporter`. This one keeps silent; the command line passes
one that draws (``terminal.py``), tests pass one that remembers.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of the history: what an epoch cost and reached.

    Costs are mean cross-entropies in nats, accuracies fractions of 1,
    ``epoch`` counts from 1, ``learning_rate`` is that of its first update,
    ``epoch_seconds`` is training alone.
    """

    epoch: int
    cost: float
    accuracy: float
    val_cost: float
    val_accuracy: float
    learning_rate: float
    epoch_seconds: float
    samples_per_second: float


@dataclass(kw_only=True)
class Progress:
    """How far one training of several is.

    Attributes:
        name: such as ``gru-s1``.
        epochs: that it will have.
        state: in a word or two.
        record: of the last finished epoch.
        seconds: since it began.
        left: seconds that it will take yet, as far as that can be told.
    """

    name: str
    epochs: int
    state: str = "queued"
    record: EpochRecord | None = None
    seconds: float = 0.0
    left: float | None = None


class Reporter:
    """Receives progress; does nothing with it."""

    def note(self, text: str) -> None:
        """Take one sentence for the user: what is done, skipped, or noteworthy."""

    def transfer(self, name: str, done: int, total: int | None) -> None:
        """Take that ``done`` of ``total`` bytes (None: not known) of file ``name`` have arrived."""

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Take that ``done`` of ``total`` batches of an epoch are trained."""

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Take that an epoch, of ``epochs``, has ended."""

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Take how far trainings side by side are, and the seconds until all have ended, as far as known."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take a table: the names of its columns, of which the first names the row, and its rows."""
