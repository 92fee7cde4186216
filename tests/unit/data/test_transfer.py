import socket
from base64 import b64encode

import pytest

from pipeline.data import transfer
from pipeline.data.transfer import NoAnswerError
from pipeline.errors import DataError
from tests.unit.data_fixtures import Answer, Remembering, serving


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetch(address: str, reporter: Remembering) -> bytes:
    return transfer.fetch(address, lambda file: file.read(), reporter)


def test_a_failure_that_may_pass_is_tried_again_and_a_refusal_is_not() -> None:
    with serving({"a": [Answer(status=503), Answer(b"x", length=9), b"content"]}) as server:
        assert b"content" == fetch(f"{server.base}a", Remembering())
        with pytest.raises(DataError, match="HTTP 404"):
            fetch(f"{server.base}b", Remembering())
    assert ["a", "a", "a", "b"] == server.requests


def test_a_mirror_that_keeps_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"),
    ):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/a", Remembering())


def test_what_arrives_of_an_unknown_length_is_still_told() -> None:
    reporter = Remembering()
    with serving({"a": Answer(bytes(100_000), length=None)}) as server:
        assert bytes(100_000) == fetch(f"{server.base}a", reporter)
    assert {("a", None)} == {(name, total) for name, _, total in reporter.transfers}
    assert sorted(reporter.transfers) == reporter.transfers


def test_a_server_that_sends_next_to_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 0)
    with serving({"a": Answer(bytes(10), length=10_000)}) as server:
        with pytest.raises(
            transfer.NoAnswerError, match=r"/a: expected at least 6,000 bytes within 0 s, received 10\."
        ):
            fetch(f"{server.base}a", Remembering())
        assert ["a"] == server.requests


def test_no_more_is_fetched_than_is_taken() -> None:
    with serving({"a": bytes(10_000_000)}) as server:
        reporter = Remembering()
        assert bytes(100) == transfer.fetch(f"{server.base}a", lambda file: file.read(100), reporter)
    assert reporter.transfers[-1][1] < 1_000_000


def test_credentials_are_used_and_not_shown() -> None:
    with serving({}) as server:
        address = server.base.replace("http://", "http://user:secret@")
        with pytest.raises(DataError, match=f"^{server.base}a: HTTP 404") as caught:
            fetch(f"{address}a?token=secret", Remembering())
    assert "secret" not in str(caught.value)
    assert [f"Basic {b64encode(b'user:secret').decode()}"] == server.authorizations
