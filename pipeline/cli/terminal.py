"""Terminal output of a stage: progress bars, a line per epoch, notes and errors; in a notebook, live tables.

Where the output is not a terminal (a log file, CI) there are no bars and no control characters, and every line is
complete.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipeline.epochs import EpochRecord
from pipeline.progress import Progress, Reporter, duration

if TYPE_CHECKING:  # imported when something is drawn: every command imports this module
    from rich.live import Live
    from rich.progress import Progress as Bar
    from rich.table import Table

COLUMNS = ("run", "state", "epoch", "cost", "val accuracy", "seconds", "left")
EPOCH_COLUMNS = ("epoch", "cost", "accuracy", "val cost", "val accuracy", "seconds")

MARGIN = 4
"""Lines of the terminal that a table of runs leaves free: for headings, caption and prompt."""


class TerminalReporter(Reporter, AbstractContextManager["TerminalReporter"]):
    """Draws the reports of a stage. It is a context manager, whose end removes an unfinished bar.

    Args:
        quiet: show results only.
        aside: show everything except results on standard error, because another program reads the results.
    """

    def __init__(self, *, quiet: bool = False, aside: bool = False) -> None:
        self._results = _Console()
        self._console = _Console(stderr=True) if aside else self._results
        self._quiet = quiet
        self._drawn: Bar | Live | None = None
        self._shown: dict[str, tuple[str, int]] = {}

    def __exit__(self, *_: object) -> None:
        self._leave()

    def note(self, text: str) -> None:
        """Print one sentence."""
        if not self._quiet:
            self._leave()
            self._console.print(text, markup=False)

    def result(self, text: str) -> None:
        """Print a result of the command."""
        self._leave()
        self._results.print(text, markup=False)

    def transfer(self, name: str, done: int, total: int | None) -> None:
        """Draw a bar for the file ``name``, in bytes."""
        self._advance(name, done, total, in_bytes=True)

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Draw a bar for the epoch, in batches."""
        self._advance(f"epoch {epoch}/{epochs}", done, total, in_bytes=False)

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Print the line of an epoch."""
        width = len(str(epochs))
        self.note(
            f"epoch {record.epoch:{width}}/{epochs}   cost {record.cost:.4f}   accuracy {record.accuracy:7.2%}   "
            f"val cost {record.val_cost:.4f}   val accuracy {record.val_accuracy:7.2%}   {record.epoch_seconds:.1f} s"
        )

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Draw a table of all runs; without a terminal, print a line for each epoch and change of state."""
        if self._quiet:
            return
        if self._console.is_terminal:
            self._draw(_board(trainings, left, height=self._console.height - MARGIN))
            return
        for training in trainings:
            now = training.state, training.record.epoch if training.record else 0
            if self._shown.get(training.name, ("queued", 0)) != now:
                if not self._shown:
                    self.note("   ".join(COLUMNS))
                self._shown[training.name] = now
                self.note("   ".join(cells(training)).rstrip())

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table with its numbers aligned to the right; long rows are not wrapped."""
        lines = [columns, *rows]
        first, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
        for name, *values in lines:
            numbers = (value.rjust(width) for value, width in zip(values, widths, strict=True))
            self.result("   ".join([name.ljust(first), *numbers]))

    def _draw(self, table: "Table") -> None:
        from rich.live import Live

        if not isinstance(self._drawn, Live):
            self._leave()
            self._drawn = Live(console=self._console, auto_refresh=False)
            self._drawn.start()
        self._drawn.update(table, refresh=True)

    def _advance(self, subject: str, done: int, total: int | None, *, in_bytes: bool) -> None:
        if self._quiet or not self._console.is_terminal:
            return
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if not isinstance(self._drawn, Bar) or self._drawn.tasks[0].description != subject:
            self._leave()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn() if in_bytes else MofNCompleteColumn(),
            )
            self._drawn = Bar(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._drawn.add_task(subject, total=total)
            self._drawn.start()
        self._drawn.update(self._drawn.task_ids[0], completed=done)

    def _leave(self) -> None:
        """Remove a bar, but keep a table of runs visible."""
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None


class NotebookReporter(TerminalReporter):
    """Draws the epochs of a run, the runs of a comparison and other tables as HTML in the output of a cell."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs: list[tuple[str, ...]] = []
        self._area: Any = None
        self._columns: Sequence[str] = ()

    def note(self, text: str) -> None:
        """Print one sentence."""
        print(text)  # noqa: T201 - rich would show each as a separate block of HTML

    result = note

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Add a row for an epoch."""
        costs = f"{record.cost:.4f}", f"{record.accuracy:.2%}", f"{record.val_cost:.4f}", f"{record.val_accuracy:.2%}"
        self._epochs.append((f"{record.epoch}/{epochs}", *costs, f"{record.epoch_seconds:.1f}"))
        self._show(EPOCH_COLUMNS, self._epochs)

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Replace the previous table of all runs."""
        self._show(COLUMNS, [cells(training) for training in trainings], f"about {duration(left)} left" if left else "")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table below the previous ones."""
        self._area = None
        self._show(columns, rows)

    def _show(self, columns: Sequence[str], rows: Sequence[Sequence[str]], below: str = "") -> None:
        import pandas as pd
        from IPython.display import HTML, display  # type: ignore[import-not-found] # notebooks have it

        content = HTML(pd.DataFrame(rows, columns=list(columns)).to_html(index=False) + below)
        if self._area is not None and columns == self._columns:
            self._area.update(content)
        else:
            self._area, self._columns = display(content, display_id=True), columns


def reporter() -> TerminalReporter:
    """Return the reporter for a function that is called from Python, in a notebook or elsewhere."""
    ipython = sys.modules.get("IPython")
    is_notebook = ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    return NotebookReporter() if is_notebook else TerminalReporter()


class _Console(Console):
    """A console that does not wrap or highlight text, and uses no colours with NO_COLOR.

    It survives the end of its reader: after `| head` has read enough, the work continues.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        colours: Any = None if os.environ.get("NO_COLOR") else "auto"
        super().__init__(stderr=stderr, color_system=colours, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Print nothing more; rich would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _board(trainings: Sequence[Progress], left: float | None, *, height: int) -> "Table":
    """Return the table of all runs; if they do not fit, of the active runs."""
    from rich.table import Column, Table

    ended = sum(training.left == 0 for training in trainings)
    caption = f"{ended} of {len(trainings)} ended" + (f", about {duration(left)} left" if left else "")
    columns = [Column(each, justify="left" if each in ("run", "state") else "right") for each in COLUMNS]
    table = Table(*columns, caption=caption, caption_justify="left", box=None, padding=(0, 2, 0, 0))
    active = [training for training in trainings if training.is_active]
    for training in trainings if len(trainings) <= height else active[:height]:
        table.add_row(*cells(training))
    return table


def cells(training: Progress) -> tuple[str, ...]:
    """Return the columns of a run: name, state, epoch, cost, validation accuracy, seconds, time left."""
    record = training.record
    return (
        training.name,
        f"{training.state}, on {training.machine}" if training.machine else training.state,
        f"{record.epoch}/{training.epochs}" if record else "",
        f"{record.cost:.4f}" if record else "",
        f"{record.val_accuracy:.2%}" if record else "",
        f"{training.seconds:.0f} s" if training.seconds else "",
        duration(training.left) if training.left else "",
    )


def print_error(message: str) -> None:
    """Print one paragraph to standard error."""
    console = _Console(stderr=True)
    console.print("Error:", style="bold red", end=" ")
    console.print(message, markup=False)
