"""A store that is not suitable, does not answer, refuses, or is first opened by two processes."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from unittest.mock import Mock, call

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from pipeline.errors import TrackingError
from pipeline.tracking import connection, store

GONE = 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE", 0.0)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # may be set by other tests


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a store that does not exist yet."""
    path = tmp_path / "new" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    monkeypatch.chdir(tmp_path)
    return path


class Server(BaseHTTPRequestHandler):
    """A server that answers with the given codes, one after the other, and then with 200; or not at all."""

    codes: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        if code := self.codes.pop(0) if self.codes else 200:
            self.send_response(code)
            self.end_headers()
            answer = {
                "run": {"info": {"run_id": "r", "experiment_id": "1", "run_name": "gru"}, "data": {}},
                "experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"},
            }
            self.wfile.write(json.dumps(answer).encode() if code == 200 else b"No.")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with HTTPServer(("127.0.0.1", 0), Server) as http:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{http.server_port}")
        Thread(target=http.serve_forever, daemon=True).start()
        yield Server
        http.shutdown()


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ("(sqlite3.OperationalError) database is locked", 5),
        ("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name", 5),
        ("duplicate key value violates unique constraint", 5),
        ("Run 'x' not found", 1),
    ],
)
def test_only_a_call_that_conflicts_with_another_process_is_repeated(message: str, calls: int) -> None:
    conflicting = Mock(side_effect=MlflowException(message))
    with pytest.raises(MlflowException):
        connection.retried(conflicting, "a question")
    assert [call("a question")] * calls == conflicting.call_args_list


def test_an_unreachable_server_loses_nothing_and_is_reported_once(
    server: type[Server], capfd: pytest.CaptureFixture[str]
) -> None:
    notes: list[str] = []
    connection.connect(notes.append)
    server.codes[:] = [GONE, 503, 500, 429, GONE]

    assert "gru" == store.get_run("r").name
    (said,) = notes
    assert "does not answer; trying again" in said
    assert "secret" not in said
    assert "Retrying" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (503, r"No answer from the tracking server\. .* and that the server is running"),
        (403, r"The tracking server refuses this user\. .* Check MLFLOW_TRACKING_USERNAME"),
        (401, r"The tracking server refuses this user\. .* Check MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_only_an_unreachable_server_is_reported_as_unreachable(server: type[Server], code: int, said: str) -> None:
    server.codes[:] = [code] * 99
    with pytest.raises(TrackingError, match=said):
        store.get_run("r")
    server.codes.clear()


@pytest.mark.usefixtures("new_store")
def test_an_unknown_run_is_named_once_and_not_blamed_on_the_server() -> None:
    message = r"^There is no run 'x'\. Tracking server: \S+\. Check the name or ID, and MLFLOW_TRACKING_URI\.$"
    with pytest.raises(TrackingError, match=message):
        store.get_run("x")


# --- a SQLite file --------------------------------------------------------------------------------------------------


def test_two_first_starts_make_one_store(path: Path) -> None:
    command = [sys.executable, "-c", "from pipeline.tracking import connection; connection.connect()"]
    starts = [subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in starts]

    assert [0, 0] == [process.returncode for process in starts], said
    assert {"mlflow.db", "mlflow.db.lock"} >= {file.name for file in path.parent.iterdir()}
    with closing(sqlite3.connect(path)) as made:
        assert [(1,)] == made.execute("SELECT count(*) FROM experiments").fetchall()


def test_an_interrupted_first_start_leaves_no_incomplete_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "search_experiments", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            connection.connect()
    assert not path.exists()
    path.touch()
    Path(f"{path}-journal").write_bytes(b"of a killed process")

    connection.connect()

    assert [] == store.find_runs("")


def test_a_file_that_is_no_store_is_named_and_left(path: Path) -> None:
    content = b"SQLite format 3\0" * 9
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(TrackingError, match=r"No answer from the tracking server.*mlflow\.db"):
        connection.connect()
    assert content == path.read_bytes()
