"""What a person sees in the terminal: progress bars, one line per epoch, notes and errors.

Where the output is not a terminal (a log file, CI) the bars are left out and
every line stays whole.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.console import Console

from pipeline.reporting import EpochRecord, Reporter

if TYPE_CHECKING:  # imported when a bar is drawn: it would slow `pipeline --help`
    from rich.progress import Progress, ProgressColumn, TaskID


class TerminalReporter(Reporter):
    """Draws what a stage reports. A context manager: leaving it takes an unfinished bar away."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar: "Progress | None" = None
        self._task: "TaskID | None" = None
        self._subject = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove_bar()

    def note(self, text: str) -> None:
        """Print one sentence."""
        self._remove_bar()
        self._console.print(text, markup=False)

    def transfer(self, name: str, done: int, total: int | None) -> None:
        """Draw a bar for the file ``name``, in bytes."""
        from rich.progress import DownloadColumn

        self._advance(name, done, total, DownloadColumn())

    def batches(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Draw a bar for the epoch, in batches."""
        from rich.progress import MofNCompleteColumn

        self._advance(f"epoch {epoch}/{epochs}", done, total, MofNCompleteColumn())

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Print the line of an epoch."""
        width = len(str(epochs))
        self.note(
            f"epoch {record.epoch:{width}}/{epochs}   cost {record.cost:.4f}   accuracy {record.accuracy:7.2%}   "
            f"val cost {record.val_cost:.4f}   val accuracy {record.val_accuracy:7.2%}   {record.epoch_seconds:.1f} s"
        )

    def _advance(self, subject: str, done: int, total: int | None, unit: "ProgressColumn") -> None:
        if not self._console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None or subject != self._subject:
            self._remove_bar()
            columns = (TextColumn("{task.description}"), BarColumn(), unit, TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task, self._subject = self._bar.add_task(subject, total=total), subject
            self._bar.start()
        assert self._task is not None  # noqa: S101 - set with the bar; tells the type checker
        self._bar.update(self._task, completed=done)

    def _remove_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def print_error(message: str) -> None:
    """Print one paragraph to standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("Error:", style="bold red", end=" ")
    console.print(message, markup=False)


@contextmanager
def quiet_native_start() -> Iterator[None]:
    """Hold back what TensorFlow's native code writes to standard error while it is imported.

    It prints a page about CUDA and oneDNN before any log level applies. If the
    import fails, what was held back is shown after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(kept, hidden.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
