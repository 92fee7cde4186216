"""Connect to the tracking server: check it before any work, retry requests, explain failures.

While a server does not answer, MLflow itself repeats each request for about four minutes
(``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` and similar variables). A SQLite file that several processes share needs more:
MLflow waits for its lock, but not for a row that another process has just written. :func:`retried` waits for both.
"""

import functools
import logging
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline import disk
from pipeline.errors import PipelineError, TrackingError, first_line, shown
from pipeline.startup import uninterrupted

BRIEF = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""Environment variables that make MLflow give up within seconds if a server does not answer."""

CONFLICTS = 4  # maximum number of conflicts with other processes in one call
PAUSE = 1.0  # seconds after each conflict

_CONFLICT = re.compile(r"database is locked|UNIQUE constraint failed|duplicate key value")
_CAUSES = (
    (
        r"error code 40[13]\b|40[13] Client Error|PERMISSION_DENIED|UNAUTHENTICATED",
        "The tracking server refuses this user",
        "Check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (
        r"^(sqlite3|sqlalchemy)\b|failed with (timeout )?exception|error code (408|429|5\d\d)\b|OperationalError"
        r"|(408|429|5\d\d) Server Error|Max retries exceeded|Connection (refused|reset|aborted)",
        "No answer from the tracking server",
        "Check MLFLOW_TRACKING_URI and that the server is running",
    ),
)
"""Patterns of errors with one problem and remedy for every request."""

_OF_A_STORE: tuple[type[Exception], ...] = (MlflowException, OSError, SQLAlchemyError, sqlite3.Error, ImportError)

T = TypeVar("T")
_note: list[Callable[[str], None]] = []


def connect(note: Callable[[str], None] | None = None, *, writes: bool = False) -> None:
    """Check that the tracking server answers and accepts runs, before any expensive work.

    Args:
        note: called once when the server does not answer and MLflow repeats its request; None keeps the earlier one.
        writes: also check that files of runs can be written.

    Raises:
        TrackingError: it does not; the message contains its address.
    """
    if note is not None:
        _note[:] = [note]
    logging.getLogger("urllib3.connectionpool").addFilter(_announce)
    # This logger prints errors that MLflow also raises, with a traceback.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with environment(BRIEF), explained("No answer from the tracking server", check="the server"):
        _prepare_sqlite()
        mlflow.search_experiments(max_results=1)
    if writes:
        with explained("The experiment cannot be used", check="MLFLOW_EXPERIMENT_NAME, MLFLOW_EXPERIMENT_ID"):
            _check_writable()


def _announce(record: logging.LogRecord) -> bool:
    """Tell the user once that MLflow repeats its requests, instead of urllib3's warning about each of them."""
    while _note:
        _note.pop()(f"The tracking server {address()} does not answer; trying again.")
    return record.levelno < logging.WARNING


def file() -> Path | None:
    """Return the SQLite file of the store; None if the store is not a SQLite file."""
    uri = mlflow.get_tracking_uri()
    name = make_url(uri).database if uri.startswith("sqlite:") else None
    return Path(name) if name and name != ":memory:" else None


def is_there() -> bool:
    """Return whether the store exists; MLflow would create a missing SQLite file."""
    path = file()
    return path is None or (path.exists() and path.stat().st_size > 0)


def _prepare_sqlite() -> None:
    """Create the SQLite file of a store if it does not exist, and check that it is a SQLite file.

    MLflow creates the tables of a new file in dozens of steps. Two processes that do so at the same time fail, and a
    killed process leaves an unusable file. So the file gets its name only when it is complete.

    Raises:
        OSError: the file's folder cannot be written.
        sqlite3.Error: the file is not a SQLite file, or is damaged; MLflow would try to open it for minutes.
    """
    path = file()
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext() if is_there() else FileLock(f"{path}.lock"):
        if not is_there():
            # A killed process may have left a journal, which SQLite would apply to the new file.
            Path(f"{path}-journal").unlink(missing_ok=True)
            with disk.new_file(path) as incoming, environment({"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}):
                mlflow.MlflowClient(f"sqlite:///{incoming.absolute()}").search_experiments(max_results=1)
    with closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA schema_version")


def _check_writable() -> None:
    """Write a small file to the artifact folder of the experiment, and remove it.

    An experiment that does not exist yet will have its folder in the same place as the default experiment.
    """
    server, experiment_id = mlflow.MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_ID")
    names = (os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default"), "Default")
    found = [server.get_experiment(experiment_id)] if experiment_id else map(server.get_experiment_by_name, names)
    if experiment := next(filter(None, found), None):
        place = experiment.artifact_location
        with (
            explained(f"Files of runs cannot be written to {shown(place)}", check="its permissions"),
            TemporaryDirectory() as folder,
        ):
            repository, probe = get_artifact_repository(place), Path(folder, f"write-test-{uuid.uuid4().hex}")
            probe.touch()
            repository.log_artifact(str(probe))  # type: ignore[no-untyped-call]
            repository.delete_artifacts(probe.name)  # type: ignore[no-untyped-call]


def client() -> mlflow.MlflowClient:
    """Return a client of the tracking server whose calls are all :func:`retried`."""
    return cast(mlflow.MlflowClient, _Client())


class _Client:
    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(retried, getattr(mlflow.MlflowClient(), name))


def retried(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call MLflow and return its answer; retry if another process holds the database or wrote the same row first.

    A call into a SQLite file is not interrupted: that could leave the file locked, even for this process.
    """
    for _ in range(CONFLICTS):
        try:
            with uninterrupted() if file() else nullcontext():
                return call(*arguments, **named)
        except (MlflowException, SQLAlchemyError) as error:
            if not _CONFLICT.search(str(error)):
                raise
            time.sleep(PAUSE)
    return call(*arguments, **named)


def address() -> str:
    """Return the address of the tracking server without secrets."""
    return shown(mlflow.get_tracking_uri())


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def explained(problem: str, others: tuple[type[Exception], ...] = (), *, check: str | None = None) -> Iterator[None]:
    """Turn errors of MLflow and its stores into an error for the user.

    The message is the ``problem``, unless the server does not answer or refuses the user.

    Args:
        problem: description of the problem, without a full stop.
        others: further kinds of errors to explain.
        check: what the user should check, in addition to the address of the server; by default the name or the ID
            that the problem contains.

    Raises:
        TrackingError: replaces the original error.
    """
    try:
        yield
    except PipelineError:
        raise
    except (*_OF_A_STORE, *others) as error:
        given = problem, f"Check {check or 'the name or ID'}, and MLFLOW_TRACKING_URI"
        text = f"{type(error).__module__}: {error}"
        problem, remedy = next((cause for pattern, *cause in _CAUSES if re.search(pattern, text)), given)
        is_said = check is None and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
        kind = "" if isinstance(error, _OF_A_STORE) else f"{type(error).__name__}: "  # KeyError: 'x'
        reason = "" if is_said else f"Reason: {kind}{first_line(error).rstrip('.')}. "
        raise TrackingError(f"{problem}. Tracking server: {address()}. {reason}{remedy}.") from None
