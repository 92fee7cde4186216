"""A real server of a small app, asked over real sockets."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from pipeline.errors import UsageError
from pipeline.serving import connections
from pipeline.serving.connections import Hosts
from pipeline.serving.limits import Gate, RefusedError

PAGE = "<style>p { color: red; }</style><p></p><script>draw();</script>"
TIMEOUT = 20


def echo() -> FastAPI:
    """Return an app that says what it was sent."""
    app, gate = FastAPI(), Gate()

    @app.post("/")
    async def answer(request: Request) -> JSONResponse:
        async with gate.body(request, "it", most=1_000) as content:
            return JSONResponse(content.decode())

    @app.get("/")
    async def long() -> JSONResponse:
        return JSONResponse("x" * 50_000_000)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse(error.message, error.status)

    return app


@contextmanager
def serving(app: ASGIApp) -> Iterator[tuple[uvicorn.Server, int]]:
    """Serve an app in a thread; yield its server and port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(connections.config(app, PAGE))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture
def port() -> Iterator[int]:
    with serving(Hosts(echo(), ["digits.example.com"])) as (_, port):
        yield port


def ask(port: int, host: str | None = None, *, method: str = "POST") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request(method, "/", b"hello", {"Host": host} if host is not None else {})
    answer = connection.getresponse()
    answer.read()
    return answer


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:5001", "localhost.", "127.0.0.1", "127.1.2.3:80", "[::1]:5001", "Digits.example.com:443"],
)
def test_loopback_names_and_those_that_are_allowed_are_answered(port: int, host: str) -> None:
    assert 200 == ask(port, host).status


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:127", "192.168.1.5", "", "a]b", "x@localhost:y", "ü"],
)
def test_other_names_are_refused(port: int, host: str) -> None:
    assert 421 == ask(port, host.encode().decode("latin-1")).status


@pytest.mark.parametrize("host", ["", " ", "https://a/b", "]"])
def test_a_name_that_is_none_cannot_be_allowed(host: str) -> None:
    with pytest.raises(UsageError, match="host: expected a name"):
        Hosts(echo(), [host])


@pytest.mark.parametrize(("host", "method"), [("localhost", "POST"), ("evil.example", "POST"), ("localhost", "PUT")])
def test_each_answer_tells_a_browser_to_trust_nothing_but_the_page(port: int, host: str, method: str) -> None:
    answer = ask(port, host, method=method)

    # The digests are what `printf 'draw();' | openssl dgst -sha256 -binary | base64` says, and of the style likewise.
    policy = str(answer.getheader("Content-Security-Policy"))
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-Nrzt+Ak9TKllQ0f6KxPbgRgME4RTzfjVUaOmcylYOV8='" in policy
    assert "style-src 'sha256-pckGv9YvNcB5xy+Y4fbqhyo+ib850wyiuWeNbZvLi00='" in policy
    assert "frame-ancestors 'none'" in policy
    assert ["DENY", "nosniff", "no-referrer", None] == [
        answer.getheader(name) for name in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Server")
    ]


def opened(port: int, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    client.sendall(sent)
    return client


def is_cut(client: socket.socket) -> bool:
    """Wait until the server has closed a connection, which ends the answer, if any."""
    try:
        while client.recv(2**16):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST / HT", HEAD], ids=["nothing", "half a line", "half the headers"])
def test_a_connection_without_a_request_is_cut(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    with serving(echo()) as (_, port):
        assert is_cut(opened(port, sent))


def test_a_client_that_does_not_read_its_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    with serving(echo()) as (server, port):
        client = opened(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(1)
        wait_until(lambda: not server.server_state.connections)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(TIMEOUT * 100):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail(f"not within {TIMEOUT} s")


def test_a_request_that_is_being_answered_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.05)
    with serving(echo()) as (_, port):
        client = opened(port, HEAD + b"\r\n")
        for letter in b"hello":
            threading.Event().wait(0.05)
            client.sendall(bytes([letter]))
        assert b"200 OK" in client.recv(2**16)


def test_one_connection_too_many_is_cut_and_a_place_that_is_free_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 2)
    with serving(echo()) as (server, port):
        held = [opened(port, HEAD + b"\r\n") for _ in range(2)]
        wait_until(lambda: len(server.server_state.tasks) == len(held))

        assert is_cut(opened(port, b""))

        for client in held:
            client.close()
        wait_until(lambda: not server.server_state.connections)
        assert 200 == ask(port).status


def test_a_client_that_hangs_does_not_keep_the_server_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "ENDING", 0.2)
    with serving(echo()) as (server, port):
        client = opened(port, HEAD + b"\r\nhel")
        wait_until(lambda: bool(server.server_state.tasks))
        server.should_exit = True
        answer = client.recv(2**16)

    assert b"503" in answer
    assert "Traceback" not in caplog.text
