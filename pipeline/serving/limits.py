"""Limits on requests: bytes and seconds of a body, how many large ones at the same time, and what JSON they hold.

Slow clients, and many of them, are left to a proxy in front of the server.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

SMALL = 2**18  # bytes of a body that waits for no other; 64 images of 28 × 28 are fewer
SECONDS = 60  # until a body must have arrived
HELD = 4  # large bodies in memory at the same time
HEAVY = 2  # pictures and large bodies that are worked on at the same time
NESTED = 16  # braces, brackets and colons of a body, besides the rows of its images

KEYS = ("inputs", "instances")


class Limiter:
    """Answers requests so that all that are being answered fit into memory; small ones wait for none."""

    def __init__(self) -> None:
        self._held = asyncio.Semaphore(HELD)
        self._heavy = asyncio.Semaphore(HEAVY)

    async def answer(
        self, request: Request, function: Callable[[bytes], object], name: str, *, most: int, heavy: bool = False
    ) -> JSONResponse:
        """Return as JSON what a function, called in a thread, makes of a request's body.

        Args:
            request: the request.
            function: takes the body.
            name: the body's name in errors.
            most: bytes that the body may have.
            heavy: the function takes much memory even for a small body.

        Raises:
            HTTPException: the body is too large, does not arrive in time or at all, or the server stops.
        """
        large = int(request.headers.get("content-length", most)) > SMALL
        try:
            async with self._held if large else nullcontext():
                content = await _body(request, name, most)
                async with self._heavy if large or heavy else nullcontext():
                    return JSONResponse(await asyncio.to_thread(function, content))
        except asyncio.CancelledError:  # uvicorn has waited for long enough
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "The server is stopping.") from None


async def _body(request: Request, name: str, most: int) -> bytes:
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                if len(content) <= most:  # the rest is dropped: a client reads the answer when it has sent all
                    content += part
    except TimeoutError:
        problem = f"{name}: expected all of it within {SECONDS} s, received {len(content):,} bytes."
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, problem, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: the client has disconnected.") from None
    if len(content) > most:
        problem = f"{name}: expected at most {most:,} bytes, received more. Send it in parts."
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
    return bytes(content)


def check_json(content_type: str | None) -> None:
    """Check that a request's content type is JSON in UTF-8.

    Raises:
        HTTPException: it is another one, or none.
    """
    kind, *parameters = [part.strip().lower() for part in (content_type or "").split(";")]
    if kind != "application/json" or any(part not in ("", "charset=utf-8", 'charset="utf-8"') for part in parameters):
        problem = f"Content-Type: expected application/json, in UTF-8, received {content_type or 'none'}."
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)


def images(content: bytes, *, width: int) -> list[Any]:
    """Return the list of images in a body of JSON, as they are: the model checks their shape and numbers.

    Args:
        content: the body.
        width: columns of an image, in pixels: many shorter lists are not rows, and would take much memory.

    Raises:
        HTTPException: it is not JSON, or not an object with a list as its ``inputs`` or ``instances``.
    """
    expected = 'body: expected one JSON object with either "inputs" or "instances", a list of images, received'
    nested = sum(map(content.count, (b"[", b"{", b":")))
    if nested > NESTED + len(content) / width:
        problem = f"{expected} {nested:,} lists and objects in {len(content):,} bytes."
        raise HTTPException(HTTPStatus.BAD_REQUEST, problem)
    try:
        parsed = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also text in another encoding, and a number of thousands of digits
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{expected} what is not JSON in UTF-8: {error}.") from None
    found = {name: type(value).__name__ for name, value in parsed.items()} if isinstance(parsed, dict) else {}
    keys = [key for key in KEYS if key in found]
    if len(keys) != 1 or found[keys[0]] != "list":
        received = ", ".join(f"{name!r}: {kind}" for name, kind in found.items())[:200] or type(parsed).__name__
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{expected} {received}.")
    given: list[Any] = parsed[keys[0]]
    return given
