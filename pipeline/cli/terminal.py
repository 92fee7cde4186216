"""Terminal output of a stage: progress bars, a line per epoch, notes and errors.

Where the output is not a terminal (a log file, CI, a notebook) there are no bars and no control characters, and every
line is complete.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.epochs import EpochRecord
from pipeline.progress import Progress, Reporter, duration

COLUMNS = ("run", "state", "epoch", "cost", "val accuracy", "seconds", "left")


class TerminalReporter(Reporter, AbstractContextManager["TerminalReporter"]):
    """Shows the reports of a stage. It is a context manager, whose end removes a bar or a table of runs.

    Args:
        quiet: show results only.
        aside: show everything except results on standard error, because another program reads the results.
    """

    def __init__(self, *, quiet: bool = False, aside: bool = False) -> None:
        self._results = _Console()
        self._console = _Console(stderr=aside, quiet=quiet)
        self._live = Live(console=self._console, transient=True)
        self._shown: dict[str, tuple[str, int]] = {}

    def __exit__(self, *_: object) -> None:
        self._erase()

    def note(self, text: str) -> None:
        """Print one sentence."""
        self._erase()
        self._console.print(text, markup=False)

    def result(self, text: str) -> None:
        """Print a result of the command."""
        self._erase()
        self._results.print(text, markup=False)

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Draw a bar for the epoch."""
        self._draw(f"epoch {epoch}/{epochs} {'█' * (30 * done // total):░<30} {done}/{total}")

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Print the line of an epoch."""
        width = len(str(epochs))
        self.note(
            f"epoch {record.epoch:{width}}/{epochs}   cost {record.cost:.4f}   accuracy {record.accuracy:7.2%}   "
            f"val cost {record.val_cost:.4f}   val accuracy {record.val_accuracy:7.2%}   {record.epoch_seconds:.1f} s"
        )

    def trainings(self, trainings: Sequence[Progress], left: float | None) -> None:
        """Draw a table of all runs; without a terminal, print a line for each epoch and change of state."""
        if self._console.is_terminal:
            self._draw(_board(trainings, left))
            return
        for training in trainings:
            now = training.state, training.record.epoch if training.record else 0
            if self._shown.get(training.name, ("queued", 0)) != now:
                if not self._shown:
                    self.note("   ".join(COLUMNS))
                self._shown[training.name] = now
                self.note("   ".join(cells(training)).rstrip())

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; long rows are not wrapped."""
        self.result(_aligned([columns, *rows]))

    def _draw(self, text: str) -> None:
        """Replace the text below the printed lines; a low terminal shows its first lines."""
        if self._console.is_terminal:
            fitting = "\n".join(text.splitlines()[: self._console.height - 1])
            self._live.update(Text(fitting, no_wrap=True, overflow="ellipsis"))
            self._live.start(refresh=True)

    def _erase(self) -> None:
        self._live.update("")  # so that rich, when it starts again, does not erase lines that were printed since
        self._live.stop()


class _Console(Console):
    """A console that does not wrap or highlight text, and prints plain text in a notebook.

    It survives the end of its reader: after `| head` has read enough, the work continues.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=True, force_jupyter=False)

    def on_broken_pipe(self) -> None:
        """Print nothing more; rich would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, with all columns but the first aligned to the right."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "   ".join([name.ljust(first), *(value.rjust(width) for value, width in zip(values, widths, strict=True))])
        for name, *values in rows
    )


def _board(trainings: Sequence[Progress], left: float | None) -> str:
    """Return the table of all runs, the active ones first: those are seen if the terminal is too low for all."""
    ended = sum(training.left == 0 for training in trainings)
    ordered = sorted(trainings, key=lambda training: not training.is_active)
    title = f"{ended} of {len(trainings)} ended" + (f", about {duration(left)} left" if left else "")
    return f"{title}\n{_aligned([COLUMNS, *map(cells, ordered)])}"


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
    _Console(stderr=True).print(Text.assemble(("Error:", "bold red"), f" {message}"))
