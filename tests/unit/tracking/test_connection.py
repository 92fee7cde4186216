"""A server that is away for a while, one that stays away, and one that refuses."""

import pytest
import requests
from mlflow.exceptions import MlflowException

from pipeline.errors import TrackingError
from pipeline.tracking import connection

AWAY = "API request to http://127.0.0.1:1/api failed with exception HTTPConnectionPool: Max retries exceeded"


class Server:
    """Fails as often as told, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, question: str) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return f"answer to {question}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE", 0.0)


@pytest.mark.parametrize(
    "failure",
    [
        MlflowException(AWAY),
        MlflowException("API request to endpoint /api failed with error code 503 != 200. Response body: ''"),
        MlflowException("API request to http://10.0.0.1:5000/api failed with timeout exception HTTPConnectionPool: …"),
        MlflowException("(sqlite3.OperationalError) database is locked"),
        MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name"),
        requests.ConnectionError("('Connection aborted.', RemoteDisconnected('closed'))"),
        requests.HTTPError("502 Server Error: Bad Gateway for url: http://127.0.0.1:1/api"),
    ],
)
def test_what_passes_is_waited_for(failure: Exception) -> None:
    server = Server(failure, failure)
    assert "answer to a question" == connection.patiently(server, "a question")
    assert 3 == server.calls


@pytest.mark.parametrize(
    "failure",
    [
        MlflowException("Run 'x' not found"),
        MlflowException("API request failed with error code 403 != 200"),
        OSError("?"),
    ],
)
def test_what_does_not_pass_is_raised_at_once(failure: Exception) -> None:
    server = Server(failure)
    with pytest.raises(type(failure)):
        connection.patiently(server, "a question")
    assert 1 == server.calls


def test_one_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(connection.PATIENCE, "0")
    with pytest.raises(TrackingError, match=r"was away for 0 s\. .* What was trained is kept"):
        connection.patiently(Server(*[MlflowException(AWAY)] * 3), "a question")


def test_a_row_that_others_keep_writing_first_is_given_up() -> None:
    failure = MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name")
    server = Server(*[failure] * 99)
    with pytest.raises(MlflowException):
        connection.patiently(server, "a question")
    assert connection.CONFLICTS == server.calls


def test_what_is_refused_after_a_conflict_is_raised_at_once() -> None:
    server = Server(MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: a.b"), MlflowException("No."))
    with pytest.raises(MlflowException, match="No"):
        connection.patiently(server, "a question")
    assert 2 == server.calls


def test_nobody_is_told_of_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(connection, "_note", [told.append])
    connection.patiently(Server(MlflowException("duplicate key value violates unique constraint")), "a question")
    assert [] == told


def test_the_user_is_told_once_that_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(connection, "_note", [told.append])
    connection.patiently(Server(*[MlflowException(AWAY)] * 3), "a question")
    assert 1 == len(told)
    assert "does not answer: waiting for it" in told[0]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@db.example/mlflow", "postgresql://me:***@db.example/mlflow"),
        ("postgresql://db.example/mlflow?user=me&password=secret", "postgresql://db.example/mlflow"),
        ("http://me:sec@ret@server:5000", "http://me:***@server:5000"),
        ("postgresql://me:sec@ret:secret@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("https://secret@server", "https://***@server"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, uri: str, shown: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert shown == connection.address()
