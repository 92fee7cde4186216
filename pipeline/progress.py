"""The interface through which a stage reports its progress, without printing.

Stages take a :class:`Reporter`. This one keeps silent; the command line passes
one that draws (``cli/terminal.py``), tests pass one that remembers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.records import EpochRecord


@dataclass(kw_only=True)
class Progress:
    """How far one training of several is.

    Attributes:
        name: such as ``gru-s1``.
        epochs: that it will have.
        state: in a word or two.
        machine: that it is on, where there are several.
        record: of the last finished epoch.
        seconds: since it began.
        left: seconds that it will take yet, as far as that can be told.
    """

    name: str
    epochs: int
    state: str = "queued"
    machine: str = ""
    record: EpochRecord | None = None
    seconds: float = 0.0
    left: float | None = None


class Reporter:
    """Receives progress; does nothing with it."""

    def note(self, text: str) -> None:
        """Take one sentence for the user: what is done, skipped, or noteworthy."""

    def result(self, text: str) -> None:
        """Take a sentence that the command was typed for: it is shown where notes and progress are not wanted."""

    def transfer(self, name: str, done: int, total: int | None) -> None:
        """Take that ``done`` of ``total`` bytes (None: not known) of file ``name`` have arrived."""

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Take that ``done`` of ``total`` batches of an epoch are trained."""

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Take that an epoch, of ``epochs``, has ended."""

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Take how far parallel trainings are, and the seconds until all have ended, as far as known."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take a table: the names of its columns, of which the first names the row, and its rows."""


class Notes(Reporter):
    """Passes notes on to another reporter, and nothing else.

    Args:
        reporter: the other.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def note(self, text: str) -> None:
        """Pass a sentence on."""
        self._reporter.note(text)


def duration(seconds: float) -> str:
    """Return about how long something takes: '42 s', '12 min', '3.5 h'."""
    if seconds < 100:  # noqa: PLR2004 - from here on minutes say enough
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
