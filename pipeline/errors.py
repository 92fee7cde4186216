"""Errors that the user can fix.

    PipelineError           a failure: exit code 1
    ├── DataError           a file, folder or mirror does not hold what it should
    ├── TrainingError       the training itself broke down (a cost that is not finite)
    ├── TrackingError       the MLflow server or a run on it is not what was asked for
    ├── RegressionError     what was trained is worse than what it was to be compared with: exit code 3
    └── UsageError          a parameter is wrong, or does not fit the data: exit code 2

A message is one paragraph that says what, what was expected, what was
received, and what to try; it names the parameter, file or address. Only the
command line catches these and prints them. What a library raises for the same
reasons (a disk that is full, a server that does not answer) is made one of them
by :func:`of_library`, where a command or a job ends; anything else that is
raised is a bug and keeps its traceback.
"""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """A failure whose message is written for the user."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: IPython asks by this name."""
        return [f"{type(self).__name__}: {self}"]


class DataError(PipelineError):
    """A file, folder or mirror does not hold what it should."""


class TrainingError(PipelineError):
    """The training broke down."""


class TrackingError(PipelineError):
    """The MLflow server does not answer, or holds no such run."""


class RegressionError(PipelineError):
    """What was trained is worse than what is there already."""

    exit_code = 3


class UsageError(PipelineError):
    """A parameter is out of range, or does not fit the data."""

    exit_code = 2


_REMEDIES = {
    errno.ENOSPC: "Make room, then repeat the command: what was done is kept.",
    errno.EDQUOT: "Make room, then repeat the command: what was done is kept.",
    errno.EACCES: "Allow it, or choose another place.",
    errno.EPERM: "Allow it, or choose another place.",
    errno.EROFS: "Choose a place that can be written.",
    errno.EIO: "The disk fails: choose another place.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "The links there lead in a circle: remove one.",
    errno.ENOTDIR: "A file stands where a folder is needed: move it, or choose another place.",
}

_OF_THE_SERVER = {"mlflow", "requests", "sqlalchemy", "urllib3"}


def first_line(error: Exception) -> str:
    """Return the line of what an error says that says what is wrong: of a database its own words, not SQLAlchemy's.

    An address in it loses its user and password.
    """
    lines = _CREDENTIALS.sub("://", str(error)).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if _OF_A_DATABASE.match(line)), lines[0])[:300]


# Such as: (sqlite3.OperationalError) database or disk is full
_OF_A_DATABASE = re.compile(r"\((\w+\.)+\w*Error\) ")

_CREDENTIALS = re.compile(r"://[^\s/]*@")


def of_library(error: Exception) -> PipelineError | None:
    """Return the failure that a library's ``error`` stands for; None if it is a bug."""
    if any(kind.__module__.partition(".")[0] in _OF_THE_SERVER for kind in type(error).__mro__):
        return TrackingError(
            f"Expected the tracking server to take what was asked, it said: {first_line(error)}. Check "
            "MLFLOW_TRACKING_URI and that the server runs, then repeat the command: what was done is kept."
        )
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = error.filename2 or error.filename or "a file"
        return DataError(
            f"{place}: expected to read and write there, received: {reason(error)}. {_REMEDIES[error.errno]}"
        )
    if isinstance(error, MemoryError):
        return TrainingError(
            "Expected enough memory, received none any more. Train a smaller network or smaller batches."
        )
    return None


def suggestion(received: str, known: Iterable[str]) -> str:
    """Return ' Did you mean …?' for a name that is near one or two of those known; nothing if none is."""
    close = get_close_matches(received, list(dict.fromkeys(known)), n=2)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def reason(error: OSError) -> str:
    """Return why the operating system refused something; not every library passes that on in the same place."""
    return error.strerror or str(error) or type(error).__name__
