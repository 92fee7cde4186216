"""The app on real sockets, with a model that always gives the same answer."""

import http.client
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import uvicorn
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.kinds.sequences import Sequences
from pipeline.serving import server
from pipeline.tracking.models import Classifier

TIMEOUT = 20


def always_the_same(images: Any) -> Any:
    return np.tile(np.array([0.25, 0.75]), (len(images), 1))


IMAGES = Images(height=2, width=2)
SEQUENCES = Sequences(longest=3, features=("x", "y, z"), mean=(0.0, 0.0), variance=(1.0, 1.0))


def app(*hosts: str, kind: Kind = IMAGES, predict: Any = always_the_same) -> TrustedHostMiddleware:
    model = cast("Any", SimpleNamespace(predict=predict))
    classifier = Classifier(model, dataset="custom-12345678", class_names=("a", "b"), kind=kind)
    return server.app(classifier, uri="models:/it/1", hosts=hosts)


@contextmanager
def serving(*hosts: str, grace: int = 15, **model: Any) -> Iterator[tuple[uvicorn.Server, int]]:
    """Serve the app in a thread; yield its server and port."""
    config = server.config(app(*hosts, **model))
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


@pytest.fixture(scope="module")
def sequences() -> Iterator[int]:
    with serving(kind=SEQUENCES, predict=lambda each: np.stack([1 - each[:, -1, 0], each[:, -1, 0]], 1)) as (_, port):
        yield port


def ask(
    port: int, path: str = "/model", method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer, answer.read().decode()


LOOPBACK = ["localhost", "LOCALHOST:5001", "127.0.0.1:80", "[::1]", "[::1]:5001"]
ALLOWED = ["digits.example.com:443", "[::2]"]
OTHERS = ["evil.example", "localhost.evil.example", "www.digits.example.com", "192.168.1.5", "", "a]b", "x@localhost"]


@pytest.mark.parametrize(
    ("host", "status"), [*((host, 200) for host in LOOPBACK + ALLOWED), *((host, 400) for host in OTHERS)]
)
def test_only_the_loopback_interface_and_allowed_names_are_answered(port: int, host: str, status: int) -> None:
    assert status == ask(port, headers={"Host": host})[0].status


@pytest.mark.parametrize("host", ["", " ", "*", "https://a/b", "]"])
def test_only_names_can_be_allowed(host: str) -> None:
    with pytest.raises(UsageError, match="host: must be a host name"):
        app(host)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/static/drawing.js", {}, 200),
        ("/model", {"Host": "evil.example"}, 400),
        ("/x", {}, 404),
        ("/invocations", {}, 405),
    ],
)
def test_each_answer_lets_a_browser_run_and_show_the_page_only(
    port: int, path: str, headers: dict[str, str], status: int
) -> None:
    answer, _ = ask(port, path, headers=headers)

    assert status == answer.status
    policy = str(answer.getheader("Content-Security-Policy"))
    for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
        assert directive in policy
    assert ["DENY", "nosniff", "no-referrer", None] == [
        answer.getheader(name) for name in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Server")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1,1\n0.2,2", [[0.1, 1], [0.2, 2]]),
        ("0.1;1\r\n\r\n0.2;2\r\n", [[0.1, 1], [0.2, 2]]),
        ("\ufeffx\ty\n0.1\t1", [[0.1, 1]]),
        ('time,"y, z",x\n0,1,0.1\n1,2,0.2', [[0.1, 1], [0.2, 2]]),
        ("", "sequence: needs a line for each step, with a number for each of x, y, z; reading failed: No columns to"),
        ("0.1,1,2", "got float32 of the shape (1, 1, 3)"),
        ("0.1,1\n0.1,1,2", "Expected 2 fields in line 2, saw 3"),
        ("0.1,a", "could not convert string to float: 'a'."),
        ("\udcff", "'utf-8' codec can't decode"),
    ],
)
def test_the_page_of_sequences_sends_csv(sequences: int, text: str, expected: Any) -> None:
    answer, content = ask(sequences, "/sequence", "POST", text.encode(errors="surrogateescape"))
    said = json.loads(content)
    if isinstance(expected, str):
        assert 400 == answer.status
        assert expected in said["message"]
    else:
        np.testing.assert_allclose(expected, said["sequence"], rtol=1e-6)
        assert pytest.approx(expected[-1][0]) == said["probabilities"][1]
        assert said["by_step"] is None


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "said"),
    [
        ("/invocations", {"inputs": [[[0, 255], [1, 2]]]}, "application/json", 200, "[[0.25, 0.75]]"),
        (
            "/invocations",
            {"inputs": [[0]]},
            "application/json",
            400,
            "int64 of the shape (1, 1)",
        ),
        (
            "/invocations",
            {"instances": [[[0, 1], [1, 2]]], "params": {}},
            'Application/JSON;charset="utf-8"',
            200,
            "[[0.25, 0.75]]",
        ),
        *(
            ("/invocations", {"inputs": []}, kind, 415, "Content-Type: must be application/json; got")
            for kind in ("", "text/csv", "application/jsonp")
        ),
        ("/drawing", {}, "image/png", 400, "drawing: must be a picture such as a PNG"),
    ],
)
def test_a_request_is_answered_or_refused_with_json(  # noqa: PLR0917 - what is sent, and what comes back
    port: int, path: str, body: object, kind: str, status: int, said: str
) -> None:
    answer, content = ask(port, path, "POST", json.dumps(body).encode(), {"Content-Type": kind})

    assert status == answer.status
    assert said in str(json.loads(content)["predictions" if status == http.HTTPStatus.OK else "message"])


IMAGE = [[0] * 28] * 28


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *(
            (each, ".")
            for each in (b"[1, 2]", b"{}", b"null", b'{"x": 1}', b'{"inputs": null}', b'{"instances": "abc"}')
        ),
        (json.dumps({"inputs": [IMAGE], "instances": [IMAGE]}).encode(), "."),
        *((each, "; this is not JSON: ") for each in (b"", b"{", b'{"inputs": "\xff\xfe"}')),
        (b'{"inputs": [' + b"9" * 5_000 + b"]}", "; this is not JSON: "),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "; this is not JSON: "),
    ],
)
def test_a_body_without_a_list_of_images_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(HTTPException) as refused:
        server.examples(content)

    assert HTTPStatus.BAD_REQUEST == refused.value.status_code
    needed = 'body: must be one JSON object with either "inputs" or "instances", a list of examples'
    assert refused.value.detail.startswith(needed + said)
    assert 1_000 > len(refused.value.detail)


@contextmanager
def asking(port: int, path: str, length: int) -> Iterator[socket.socket]:
    """Send the beginning of a request, and wait until the server waits for its body."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        yield client


def test_a_body_is_not_kept_beyond_its_limit(port: int) -> None:
    size = 2**28
    tracemalloc.start()
    with asking(port, "/drawing", size) as client:
        for _ in range(size // 2**20):
            client.sendall(bytes(2**20))
        answer = client.recv(2**16).partition(b"\r\n\r\n")[2] + client.recv(2**16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert b"413" in answer
    assert 3 * server.LARGEST > peak


def test_a_body_that_does_not_arrive_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SECONDS", 0.01)
    with asking(port, "/drawing", 9) as client:
        assert b"100 Continue" in client.recv(2**16)
        assert b"408" in client.recv(2**16)


def test_a_client_that_hangs_does_not_keep_the_server_from_stopping(caplog: pytest.LogCaptureFixture) -> None:
    with serving(grace=1) as (running, port), asking(port, "/drawing", 5) as client:
        assert b"100 Continue" in client.recv(2**16)
        running.should_exit = True
        answer = client.recv(2**16)

    assert b"503" in answer
    assert "Traceback" not in caplog.text


def test_small_bodies_overtake_large_ones_that_hang(port: int) -> None:
    with ExitStack() as stack:
        hanging = [stack.enter_context(asking(port, "/invocations", 2**19)) for _ in range(server.HELD + 1)]
        for client in hanging[:-1]:
            assert b"100 Continue" in client.recv(2**16)
        body = json.dumps({"inputs": [[[0, 0], [0, 0]]]}).encode()
        assert HTTPStatus.OK == ask(port, "/invocations", "POST", body, {"Content-Type": "application/json"})[0].status


@pytest.mark.parametrize(("path", "expected"), [("/sequence", server.HEAVY), ("/invocations", 4)])
def test_the_number_of_concurrent_heavy_requests_is_limited(path: str, expected: int) -> None:
    working, most, release = list[Any](), list[int](), threading.Event()

    def predict(sequences: Any) -> Any:
        working.append(sequences)
        most.append(len(working))
        if len(working) == expected:
            threading.Timer(0.1, release.set).start()  # another one would have started by then
        release.wait(30)
        working.pop()
        return always_the_same(sequences)

    body = b"1,2" if path == "/sequence" else b'{"inputs": [[[1, 2], [null, null]]]}'
    with serving(kind=SEQUENCES, predict=predict) as (_, port), ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, port, path, "POST", body, {"Content-Type": "application/json"}) for _ in range(4)]
        assert [HTTPStatus.OK] * 4 == [each.result()[0].status for each in asked]

    assert expected == max(most)
