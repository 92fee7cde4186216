"""Errors that the user can fix.

    PipelineError           a failure: exit code 1
    ├── DataError           a file, folder or mirror is missing, damaged or unsuitable
    ├── TrainingError       a run failed, such as by a cost that is not finite
    ├── TrackingError       the MLflow server does not answer, or has no such run or model
    ├── RegressionError     the new model is significantly worse than the one it is checked against: exit code 3
    └── UsageError          a parameter is wrong, or does not fit the data: exit code 2

A message is one paragraph. It names the parameter, file or address, and says
what is required, what was given and what to try. Only the command line
catches and prints these errors. Where a command or a job ends, :func:`of_library`
converts errors of libraries that have the same causes, such as a full disk or a
server that does not answer. Any other exception is a bug and keeps its traceback.
"""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """A failure whose message is written for the user."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return the lines that a notebook shows; IPython defines this name."""
        return [f"{type(self).__name__}: {self}"]


class DataError(PipelineError):
    """A file, folder or mirror is missing, damaged or unsuitable."""


class TrainingError(PipelineError):
    """A run failed."""


class TrackingError(PipelineError):
    """The MLflow server does not answer, or has no such run or model."""


class RegressionError(PipelineError):
    """The new model is significantly worse than the one it was checked against."""

    exit_code = 3


class UsageError(PipelineError):
    """A parameter is out of range, or does not fit the data."""

    exit_code = 2


_REMEDIES = {
    errno.ENOSPC: "Free some disk space, then repeat the command: finished work is kept.",
    errno.EDQUOT: "Free some disk space, then repeat the command: finished work is kept.",
    errno.EACCES: "Change the permissions, or choose another folder.",
    errno.EPERM: "Change the permissions, or choose another folder.",
    errno.EROFS: "Choose a folder that is not read-only.",
    errno.EIO: "The disk is failing: choose another one.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "The symbolic links form a loop: remove one of them.",
    errno.ENOTDIR: "There is a file where a folder is needed: move it, or choose another folder.",
}

_OF_THE_SERVER = {"mlflow", "requests", "sqlalchemy", "urllib3"}


def first_line(error: Exception) -> str:
    """Return the line of an error that names the problem; for a database error, the database's line, not SQLAlchemy's.

    Addresses are shown without secrets.
    """
    lines = shown(str(error)).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if _OF_A_DATABASE.match(line)), lines[0])[:300]


# Such as: (sqlite3.OperationalError) database or disk is full
_OF_A_DATABASE = re.compile(r"\((\w+\.)+\w*Error\) ")


def shown(text: str) -> str:
    """Return a text in which addresses have no user, password, query or fragment.

    A password may contain any character. Where it could end in two places, the whole address becomes "…".
    """
    return re.sub(r"(?<=://)[^\s/]\S*", _without_secrets, text)


def _without_secrets(address: re.Match[str]) -> str:
    user, _, place = address[0].rpartition("@")
    return "…" if re.search("[/?#]", user) else re.split("[?#]", place)[0]


def of_library(error: Exception) -> PipelineError | None:
    """Return the error that the user sees for a library's ``error``; None if it is a bug."""
    if any(kind.__module__.partition(".")[0] in _OF_THE_SERVER for kind in type(error).__mro__):
        return TrackingError(
            f"The tracking server did not accept a request: {first_line(error)}. Check MLFLOW_TRACKING_URI and that "
            "the server runs, then repeat the command: finished work is kept."
        )
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = error.filename2 or error.filename or "a file"
        return DataError(f"{place}: cannot be read or written: {reason(error)}. {_REMEDIES[error.errno]}")
    if isinstance(error, MemoryError):
        return TrainingError("There is no free memory left. Use a smaller network or smaller batches.")
    return None


def suggestion(received: str, known: Iterable[str]) -> str:
    """Return ' Did you mean …?' with one or two similar known names; an empty text if there are none."""
    close = get_close_matches(received, list(dict.fromkeys(known)), n=2)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def reason(error: OSError) -> str:
    """Return the operating system's reason; not every library stores it in the same attribute."""
    return error.strerror or str(error) or type(error).__name__
