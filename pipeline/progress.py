"""The interface through which a stage reports its progress without printing.

Stages take a :class:`Reporter`. The base class shows nothing; the command line
passes one that draws (``cli/terminal.py``), and tests pass one that records.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.epochs import EpochRecord


@dataclass(kw_only=True)
class Progress:
    """The progress of one of several runs.

    Attributes:
        name: its name, such as ``gru-s1``.
        epochs: planned number of epochs.
        state: one or two words.
        machine: its machine, if there are several.
        record: the last finished epoch.
        seconds: time since its start.
        left: estimated seconds until its end; 0 after it; None if unknown.
    """

    name: str
    epochs: int
    state: str = "queued"
    machine: str = ""
    record: EpochRecord | None = None
    seconds: float = 0.0
    left: float | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has started, and has not ended."""
        return self.state != "queued" and self.left != 0


class Reporter:
    """Receives progress and shows nothing."""

    def note(self, text: str) -> None:
        """Receive one sentence for the user about work that is done or skipped, or about a problem."""

    def result(self, text: str) -> None:
        """Receive a result of the command, which is shown even if notes and progress are not."""

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Receive the progress of an epoch: ``done`` of ``total`` batches."""

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Receive the record of a finished epoch, one of ``epochs``."""

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Receive the progress of parallel runs, and the estimated seconds until all have ended (None: unknown)."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Receive a table; its first column names the rows."""


def duration(seconds: float) -> str:
    """Return a duration as rounded text: '42 s', '12 min', '3.5 h'."""
    if seconds < 100:  # noqa: PLR2004 - from here on minutes are precise enough
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
