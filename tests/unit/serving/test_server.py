"""The app over real sockets, with a model that says always the same."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.serving import server
from pipeline.tracking.classifier import Classifier

TIMEOUT = 20


def always_the_same(images: Any) -> Any:
    return np.tile(np.array([0.25, 0.75]), (len(images), 1))


def app(*hosts: str) -> Starlette:
    model = cast("Any", SimpleNamespace(predict=always_the_same))
    classifier = Classifier(model, dataset="custom-12345678", class_names=("a", "b"), kind=Images(height=2, width=2))
    return server.app(classifier, address="models:/it/1", hosts=hosts)


@contextmanager
def serving(*hosts: str, grace: int = 15) -> Iterator[tuple[uvicorn.Server, int]]:
    """Serve the app in a thread; yield its server and port."""
    config = server.config(app(*hosts))
    config.timeout_graceful_shutdown = grace
    listener, running = socket.create_server(("127.0.0.1", 0)), uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield running, listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving("Digits.example.com", "::2") as (_, port):
        yield port


def ask(
    port: int, path: str = "/model", method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer, answer.read().decode()


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:5001", "127.0.0.1:80", "[::1]", "[::1]:5001", "digits.example.com:443", "[::2]"]
)
def test_the_loopback_interface_and_allowed_names_are_answered(port: int, host: str) -> None:
    assert 200 == ask(port, headers={"Host": host})[0].status


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "www.digits.example.com", "192.168.1.5", "", "a]b", "x@localhost"],
)
def test_other_names_are_refused(port: int, host: str) -> None:
    assert 400 == ask(port, headers={"Host": host})[0].status


@pytest.mark.parametrize("host", ["", " ", "*", "https://a/b", "]"])
def test_what_is_not_a_name_cannot_be_allowed(host: str) -> None:
    with pytest.raises(UsageError, match="host: expected a name"):
        app(host)


@pytest.mark.parametrize(
    ("path", "headers"), [("/", {}), ("/page.js", {}), ("/model", {"Host": "evil.example"}), ("/x", {})]
)
def test_each_answer_lets_a_browser_run_and_show_the_page_only(port: int, path: str, headers: dict[str, str]) -> None:
    answer, _ = ask(port, path, headers=headers)

    policy = str(answer.getheader("Content-Security-Policy"))
    for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
        assert directive in policy
    assert ["DENY", "nosniff", "no-referrer", None] == [
        answer.getheader(name) for name in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Server")
    ]


def test_the_page_is_complete_and_holds_nothing_that_its_policy_forbids(port: int) -> None:
    answer, page = ask(port, "/")

    assert 200 == answer.status
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", page)
    for file in re.findall(r'(?:href|src)="([^":]+)"', page):
        assert 200 == ask(port, f"/{file}")[0].status


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "said"),
    [
        ("/invocations", {"inputs": [[[0, 255], [1, 2]]]}, "application/json", 200, "[[0.25, 0.75]]"),
        (
            "/invocations",
            {"inputs": [[0]]},
            "application/json",
            400,
            "of the shape (N, 2, 2), received int64 of the shape (1, 1).",
        ),
        ("/invocations", {"inputs": []}, "text/csv", 415, "expected application/json"),
        ("/drawing", {}, "image/png", 400, "drawing: expected a picture such as a PNG"),
    ],
)
def test_a_request_is_answered_or_refused_with_json(  # noqa: PLR0917 - what is sent, and what comes back
    port: int, path: str, body: object, kind: str, status: int, said: str
) -> None:
    answer, content = ask(port, path, "POST", json.dumps(body).encode(), {"Content-Type": kind})

    assert status == answer.status
    assert said in str(json.loads(content)["predictions" if status == http.HTTPStatus.OK else "message"])


def test_a_client_that_hangs_does_not_keep_the_server_from_stopping(caplog: pytest.LogCaptureFixture) -> None:
    with serving(grace=1) as (running, port), socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        client.sendall(
            b"POST /drawing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert b"100 Continue" in client.recv(2**16)  # the body is being waited for
        running.should_exit = True
        answer = client.recv(2**16)

    assert b"503" in answer
    assert "Traceback" not in caplog.text
