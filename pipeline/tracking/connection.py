"""The tracking server, reached: asked before any work, waited for when it is away, explained when it does not answer.

All calls of MLflow's client go through :func:`client`, those of its other functions through :func:`patiently`: so a
server that is away for a while, a SQLite file that others hold, and a row that another process has just made end
nothing.
"""

import functools
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import TrackingError, first_line
from pipeline.startup import uninterrupted
from pipeline.tracking import sqlite

ANSWER_SECONDS = 5
"""That a tracking server has to answer its first call."""

PATIENCE = "PIPELINE_SERVER_PATIENCE"
"""The environment variable with the seconds that a server may be away in the midst of the work."""

DEFAULTS = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",  # all files through the server: only it may reach the store
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # we wait for the server ourselves
}
"""How MLflow is to talk to a server, where the user's environment does not say otherwise."""

PATIENCE_SECONDS = 600.0
AT_ONCE = "-1"  # what is refused is raised as it is
PAUSE = 2.0  # seconds between two calls of a server that is away
CONFLICTS = 5  # that one call may have with others that write the same row

_AWAY = re.compile(
    r"failed with (timeout )?exception|error code (408|429|5\d\d)\b|(408|429|5\d\d) Server Error"
    r"|TEMPORARILY_UNAVAILABLE|Connection (refused|reset|aborted)|database is locked|could not connect"
    r"|server closed the connection"
)
_CONFLICT = re.compile(r"UNIQUE constraint failed|duplicate key value")

T = TypeVar("T")
Note = Callable[[str], None]
_note: list[Note] = []  # of whoever is at the terminal: told once when a server is waited for


def connect(note: Note | None = None) -> None:
    """Make sure that the tracking server answers and takes runs, before anything costly begins.

    Args:
        note: told when the server is away in the midst of the work; None: whoever is told that already.

    Raises:
        TrackingError: it does not; names its address.
    """
    if note is not None:
        _note[:] = [note]
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints what it raises, with a traceback
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_SECONDS)}
    with environment(patience), explained("No answer from the tracking server"):
        sqlite.prepare(mlflow.get_tracking_uri())
        mlflow.search_experiments(max_results=1)
    _check_experiment()


def file() -> Path | None:
    """Return the SQLite file that is the store; None where it is another one."""
    return sqlite.file_of(mlflow.get_tracking_uri())


def is_there() -> bool:
    """Return whether there is a store to be asked; to ask would make one where it is a SQLite file."""
    path = file()
    return path is None or (path.exists() and path.stat().st_size > 0)


def _check_experiment() -> None:
    """Check that the experiment that the environment names takes runs.

    Raises:
        TrackingError: it was deleted, or there is none with this id.
    """
    server = mlflow.MlflowClient()
    ways: dict[str, Callable[[str], Any]] = {"ID": server.get_experiment, "NAME": server.get_experiment_by_name}
    for kind, get in ways.items():
        given = os.environ.get(f"MLFLOW_EXPERIMENT_{kind}")
        problem = f"MLFLOW_EXPERIMENT_{kind}: expected an experiment that takes runs, received {given!r}"
        with explained(problem):
            experiment = get(given) if given else None
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise TrackingError(
                f"{problem}, which was deleted. Restore it (`mlflow experiments restore`), or take another."
            )


def client() -> mlflow.MlflowClient:
    """Return a client of the tracking server, each of whose calls is made :func:`patiently`."""
    return cast(mlflow.MlflowClient, _Patient(mlflow.MlflowClient()))


class _Patient:
    """An MLflow client that waits."""

    def __init__(self, server: mlflow.MlflowClient) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(patiently, getattr(self._server, name))


def patiently(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call the tracking server; call it again while it is away, and when another process wrote the same row first.

    Raises:
        TrackingError: it was away for too long.
        MlflowException: it refuses.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    seconds = _patience()
    deadline, conflicts = time.monotonic() + seconds, 0
    while True:
        try:
            with uninterrupted() if file() else nullcontext():  # a server ends what it has begun, whoever waits for it
                return call(*arguments, **named)
        except (MlflowException, OSError, SQLAlchemyError) as error:
            away, conflict = _AWAY.search(str(error)), _CONFLICT.search(str(error))
            conflicts += 1 if conflict else 0
            if seconds < 0 or not (away or (conflict and conflicts < CONFLICTS)):
                raise
            if time.monotonic() > deadline:
                raise TrackingError(
                    f"The tracking server {address()} was away for {seconds:,.0f} s. It said: {first_line(error)}. "
                    "What was trained is kept: when the server is back, repeat the command."
                ) from None
            if away:
                _tell_once(
                    f"The tracking server {address()} does not answer: waiting for it, {seconds:,.0f} s at most."
                )
        time.sleep(PAUSE)


def _patience() -> float:
    try:
        return float(os.environ.get(PATIENCE, PATIENCE_SECONDS))
    except ValueError:
        return PATIENCE_SECONDS


def _tell_once(text: str) -> None:
    while _note:
        _note.pop()(text)


def address() -> str:
    """Return the address of the tracking server as it may be shown: without a password, a token or a query.

    Passwords that should have been encoded, with an @ or a colon, are left out as well.
    """
    uri = mlflow.get_tracking_uri().partition("?")[0]
    return re.sub(r"://[^:@/]+@", "://***@", re.sub(r"://([^:@/]*):.*@", r"://\1:***@", uri))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into an error for the user."""
    try:
        yield
    except (MlflowException, OSError, SQLAlchemyError, sqlite3.Error, ImportError) as error:
        raise TrackingError(
            f"{problem}. Tracking server: {address()}. It said: {first_line(error)}. "
            "Check MLFLOW_TRACKING_URI, and that the server runs."
        ) from None
