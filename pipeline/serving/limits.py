"""What a request may be: how many bytes and how soon, how many of the dear ones at once, and which JSON.

Whoever can reach a server can send it anything. What is refused is refused
with a reason and before it costs much: a body is never kept beyond its limit,
few large ones are held at the same time, and few of the works that take memory
are done at the same time. Small requests, such as those of an image as numbers,
wait for none of these.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from http import HTTPStatus
from itertools import chain
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

SMALL = 2**18  # bytes of a body that waits for no other; 64 images of 28 × 28 are fewer
SECONDS = 60  # until a body must be there
READING = 4  # larger bodies that are held at once
WORKING = 2  # pictures and larger bodies that are worked on at once
OBJECTS = 16  # braces and colons in a body: one object is expected

_TOO_DEEP = re.compile(rb"(?:\[\s*){8}")  # a list of images is three deep; newer Pythons read thousands

KEYS = ("inputs", "instances")
NAMES = {bool: "true or false", str: "text", type(None): "null", list: "lists", dict: "an object"}
EXPECTED = 'one JSON object with either "inputs" or "instances", a list of images'

Answer = TypeVar("Answer")


class RefusedError(Exception):
    """A request that is not answered as it asks.

    Attributes:
        status: of HTTP, 4xx or 5xx.
        message: for whoever sent it: what was expected, and what was received.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Gate:
    """Lets requests in, so that all that are under way fit into memory together."""

    def __init__(self) -> None:
        self._reading = asyncio.Semaphore(READING)
        self._working = asyncio.Semaphore(WORKING)

    @asynccontextmanager
    async def body(self, request: Request, name: str, *, most: int) -> AsyncIterator[bytearray]:
        """Yield the body of a request; a large one has its place until the block ends.

        Args:
            request: whose body it is.
            name: of what it holds, as the error shall name it.
            most: bytes that it may have.

        Raises:
            RefusedError: it has more, does not arrive in time, or will not arrive any more.
        """
        content = bytearray()
        async with AsyncExitStack() as places:
            try:
                async with asyncio.timeout(SECONDS):
                    async for part in request.stream():
                        if len(content) <= SMALL < len(content) + len(part):
                            await places.enter_async_context(self._reading)
                        if len(content) <= most:  # the rest is let go: a client hears why when it has sent all
                            content += part
            except TimeoutError:
                problem = f"{name}: expected all of it within {SECONDS} s, received {len(content):,} bytes."
                raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, problem) from None
            except ClientDisconnect:
                raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name}: the client has gone.") from None
            except asyncio.CancelledError:
                raise _ending() from None
            if len(content) > most:
                problem = f"{name}: expected at most {most:,} bytes, received more. Send it in parts."
                raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
            yield content

    async def work(self, function: Callable[..., Answer], *arguments: Any, dear: bool) -> Answer:
        """Return what a function answers, called in a thread; few that are ``dear`` are called at once.

        Raises:
            RefusedError: the server ends before.
        """
        try:
            async with self._working if dear else nullcontext():
                return await asyncio.to_thread(function, *arguments)
        except asyncio.CancelledError:
            raise _ending() from None


def _ending() -> RefusedError:
    """Return the answer to what uvicorn cancels when the server has waited for it for long enough."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "The server ends.")


def check_json(content_type: str | None) -> None:
    """Check that a request says of its body that it is JSON, in UTF-8, in whatever case.

    Raises:
        RefusedError: it says something else, or nothing.
    """
    kind, *parameters = [part.strip().lower() for part in (content_type or "").split(";")]
    if kind != "application/json" or any(part not in ("", "charset=utf-8", 'charset="utf-8"') for part in parameters):
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type: expected application/json, in UTF-8, received {content_type or 'none'}.",
        )


def images(content: bytes | bytearray, *, width: int) -> list[Any]:
    """Return the ``inputs`` or ``instances`` of a body; where they are as deep as images, they hold numbers only.

    Args:
        content: of the body.
        width: columns of an image, in pixels: shorter lists are no rows, and many of them would take much memory.

    Raises:
        RefusedError: it is no JSON, another one, or holds what is no number.
    """
    parsed = _parsed(content, width)
    keys = [key for key in KEYS if key in parsed] if isinstance(parsed, dict) else []
    if len(keys) != 1:
        found = ", ".join(map(repr, parsed))[:200] if isinstance(parsed, dict) else ""
        raise _refused(f"body: expected {EXPECTED}, received {f'one with {found}' if found else _name(type(parsed))}.")
    given = parsed[keys[0]]
    if not isinstance(given, list):
        raise _refused(f"{keys[0]}: expected a list of images, received {_name(type(given))}.")
    _check_numbers(given)
    return given


def _check_numbers(images: list[Any]) -> None:
    try:
        other = set(map(type, chain.from_iterable(chain.from_iterable(images)))) - {int, float}
    except TypeError:  # these lists are not as deep, of which their shape is refused
        return
    if other:
        received = " and ".join(sorted(map(_name, other)))
        raise _refused(f"pixels: expected numbers from 0 to 255, received {received}.")


def _parsed(content: bytes | bytearray, width: int) -> Any:
    lists, objects = content.count(b"["), content.count(b"{") + content.count(b":")
    if lists > OBJECTS + len(content) / width or objects > OBJECTS:
        raise _refused(f"body: expected {EXPECTED}, received {lists:,} lists in {len(content):,} bytes.")
    if _TOO_DEEP.search(content):
        raise _refused(f"body: expected {EXPECTED}, received lists in lists, too deep.")
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise _refused(f"body: expected JSON in UTF-8, received another encoding: {error.reason}.") from None
    except RecursionError:
        raise _refused(f"body: expected {EXPECTED}, received lists in lists, too deep.") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise _refused(f"body: expected {EXPECTED}, received what does not read: {error}.") from None


def _name(kind: type) -> str:
    """Return what JSON calls a kind of value."""
    return NAMES.get(kind, "a number")


def _refused(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, message)
