"""Who is answered, how long a connection is kept, and what each answer tells a browser."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address

import uvicorn
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from pipeline.errors import UsageError

PATIENCE = 30  # seconds that a connection may be idle, or take to read an answer
MOST = 512  # connections at once: fewer than the files that a process may open
BACKLOG = 128  # that wait to be taken up
ENDING = 15  # seconds that requests have to be answered when the server is to end

HOST = re.compile(r"(?:([\w.-]+)|\[([\w:.]+)\])(?::\d*)?", re.ASCII)


class Hosts:
    """Answers what is asked by a loopback name of this machine, or by one that is allowed; nothing else.

    Any page on the web may have a name that leads to 127.0.0.1, and could then read what a server there answers (DNS
    rebinding); its requests carry its own name as their host.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        """Make it.

        Raises:
            UsageError: one of the names that are allowed is none.
        """
        self._app = app
        self._allowed = {"localhost", *map(_allowed, allowed)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "http":
            host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
            if not self._is_ours(_name(host)):
                problem = (
                    f"Host: expected {', '.join(sorted(self._allowed))} or a loopback address, received {host!r}. "
                    "The server's --allowed-host adds a name."
                )
                await JSONResponse({"message": problem}, HTTPStatus.MISDIRECTED_REQUEST)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, name: str) -> bool:
        if name in self._allowed:
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False


def _allowed(host: str) -> str:
    if name := _name(f"[{host}]" if host.count(":") > 1 else host):
        return name
    raise UsageError(f"host: expected a name or an address, such as digits.example.com, received {host!r}.")


def _name(host: str) -> str:
    """Return the name in ``name``, ``name:port`` or ``[address]:port``; empty where there is none."""
    found = HOST.fullmatch(host)
    return (found[1] or found[2]).lower().rstrip(".") if found else ""


class Connection(H11Protocol):
    """A connection that is cut when it has been idle for too long, or is one too many.

    It is idle when no request is being answered and none has begun: uvicorn would wait for ever for the first
    request, for the end of headers, and for a client to read its answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look after it."""
        super().connection_made(transport)
        self._next_look = self.loop.call_later(PATIENCE, self._look, self.cycle)
        if len(self.connections) > MOST:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self, before: RequestResponseCycle | None) -> None:
        """Cut it if nothing has begun since ``before``, the last request, which is answered."""
        if self.cycle is before and (before is None or before.response_complete):
            self.transport.abort()
        else:
            self._next_look = self.loop.call_later(PATIENCE, self._look, self.cycle)


def config(app: ASGIApp, page: str) -> uvicorn.Config:
    """Return how an app is served, whose one page is ``page``."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        backlog=BACKLOG,
        headers=list(_headers(page).items()),
        server_header=False,
        timeout_graceful_shutdown=ENDING,
        log_level="warning",
    )


def _headers(page: str) -> dict[str, str]:
    """Return what each answer tells a browser: to run and show what the page itself holds, and nothing else."""
    script, style = (_hash(page, tag) for tag in ("script", "style"))
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def _hash(page: str, tag: str) -> str:
    """Return the source of a page's one element of a kind, as a policy names it."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
