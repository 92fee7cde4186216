"""What a person sees of a stage that is called from Python: a table that grows in a notebook, lines elsewhere."""

import html
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.cli.terminal import COLUMNS, TerminalReporter, cells
from pipeline.progress import Progress, Reporter, duration
from pipeline.records import EpochRecord

EPOCH_COLUMNS = ("epoch", "cost", "accuracy", "val cost", "val accuracy", "seconds")


def reporter() -> "TerminalReporter | NotebookReporter":
    """Return the reporter for where this is called, as a context manager."""
    return NotebookReporter() if in_notebook() else TerminalReporter()


def in_notebook() -> bool:
    """Return whether this process is a notebook's, whose cells show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookReporter(Reporter):
    """Shows what a stage reports in the cell's output; what is under way is drawn anew in its place."""

    def __init__(self) -> None:
        self._area: Any = None
        self._subject = ""
        self._epochs: list[tuple[str, ...]] = []

    def __enter__(self) -> "NotebookReporter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        """Print one sentence."""
        print(text)  # noqa: T201 - a notebook shows it between the tables

    def result(self, text: str) -> None:
        """Print a sentence that the function was called for."""
        self.note(text)

    def transfer(self, name: str, done: int, total: int | None) -> None:
        """Draw a bar for the file ``name``."""
        self._show(name, _bar(name, done, total))

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Draw the epochs so far, and a bar for the one that is under way."""
        bar = _bar(f"epoch {epoch}/{epochs}", done, total) if done < total else ""
        self._show("epochs", _table(EPOCH_COLUMNS, self._epochs) + bar)

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Add a row for an epoch."""
        values = (
            f"{record.cost:.4f}",
            f"{record.accuracy:.2%}",
            f"{record.val_cost:.4f}",
            f"{record.val_accuracy:.2%}",
        )
        self._epochs.append((f"{record.epoch}/{epochs}", *values, f"{record.epoch_seconds:.1f}"))
        self._show("epochs", _table(EPOCH_COLUMNS, self._epochs))

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Draw the table of all trainings anew."""
        more = f"about {duration(left)} left" if left else ""
        self._show("trainings", _table(COLUMNS, [cells(training) for training in trainings]) + more)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table, below those before it."""
        self._area = None
        self._show("", _table(columns, rows))

    def _show(self, subject: str, content: str) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found] # it is there: this is a notebook

        if self._area is not None and subject == self._subject:
            self._area.update(HTML(content))
        else:
            self._area, self._subject = display(HTML(content), display_id=True), subject


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns)).to_html(index=False) if rows else ""


def _bar(name: str, done: int, total: int | None) -> str:
    extent = f' value="{done}" max="{total}"' if total else ""
    return f"{html.escape(name)} <progress{extent}></progress>"
