"""An HTTP server that answers like `mlflow models serve`, and shows a web page at `/`.

GET  /                         the page
GET  /model                    the model's address, data set and class names; of images their size, boxed: whether the
                               digit on a picture is found and scaled, and reads_rows: whether it reads row by row, from
                               the top; of sequences their features, and a sample
POST /drawing, /sequence       a picture file, or a sequence as CSV → probabilities (C,); certainty, the largest of them
                               at the model's temperature; by_step, what it would have answered after some of its steps:
                               their numbers (S,), from 1, and probabilities (S, C); pixels (H, W) that the model saw,
                               and like, whether it is like the answer's class (null: not known); or the sequence (T, F)
POST /invocations              JSON, {"inputs": examples} or "instances" → {"predictions": probabilities (N, C)}
GET  /ping, /health, /version  200 once the model is loaded; the version of MLflow
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Any

import mlflow
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.errors import DataError, UsageError
from pipeline.serving import known
from pipeline.serving.pages import Page
from pipeline.tracking.classifier import Classifier

LARGEST = 2**24  # bytes that the page sends: a picture, or a sequence as CSV
LARGEST_BODY = 2**25  # bytes of JSON; 10,000 images of 28 × 28, as MNIST's are, have 27 million
SMALL = 2**18  # bytes of a body that waits for no other; 64 images of 28 × 28 are fewer
SECONDS = 60  # until a body must have arrived; slow clients, and many of them, are left to a proxy
HELD = 4  # large bodies in memory at the same time
HEAVY = 2  # pictures and large bodies that are worked on at the same time
NESTED = 16  # braces, brackets and colons of a body, in addition to the rows of its images

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Headers of each answer: browsers run and show what the page itself holds, and nothing else."""


def config(app: Starlette) -> uvicorn.Config:
    """Return how an app is served."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        headers=list(HEADERS.items()),
        server_header=False,
        limit_concurrency=256,  # connections, fewer than the files that a process may open; others get status 503
        timeout_keep_alive=30,  # seconds that a connection may be idle after an answer
        timeout_graceful_shutdown=15,  # seconds that requests have when the server is told to stop
        h11_max_incomplete_event_size=2**16,  # bytes of a request's headers
        log_level="warning",
    )


def app(classifier: Classifier, *, address: str, hosts: Sequence[str] = ()) -> Starlette:
    """Return the server's app.

    Args:
        classifier: the model.
        address: the model's address.
        hosts: names by which clients may ask for it, in addition to those of the loopback interface. Any page on the
            web may have a name that leads to 127.0.0.1, and could then read the answers (DNS rebinding), but for the
            name that it asks for.

    Raises:
        UsageError: one of the names is not one.
    """
    page, folder = known.page(classifier), Path(__file__).with_name("page")
    about = {"model": address, "dataset": classifier.dataset, "class_names": classifier.class_names, **page.about}
    return Starlette(
        routes=[
            *_posts(classifier, page),
            *(Route(path, lambda _: PlainTextResponse("\n")) for path in ("/ping", "/health")),
            Route("/version", lambda _: PlainTextResponse(mlflow.__version__)),
            Route("/model", lambda _: JSONResponse(about)),
            Route("/", lambda _: FileResponse(folder / page.file)),
            Mount("/", StaticFiles(directory=folder)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_names(hosts), www_redirect=False)],
        exception_handlers={HTTPException: _refused, DataError: _refused},
    )


def _posts(classifier: Classifier, page: Page) -> list[Route]:
    limiter = Limiter()

    async def asked(request: Request) -> Response:
        return await limiter.answer(request, page.answer, page.name, most=LARGEST, heavy=True)

    async def invocations(request: Request) -> Response:
        def answer(content: bytes) -> dict[str, object]:
            return {"predictions": classifier.probabilities(examples(content, row=page.row)).tolist()}

        kind = request.headers.get("content-type", "none")
        if not re.fullmatch(r'application/json\s*(;\s*(charset="?utf-8"?)?\s*)*', kind, re.IGNORECASE):
            problem = f"Content-Type: expected application/json, in UTF-8, received {kind}."
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)
        return await limiter.answer(request, answer, "body", most=LARGEST_BODY)

    return [
        Route(f"/{name}", post, methods=["POST"]) for name, post in ((page.name, asked), ("invocations", invocations))
    ]


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"message": error.detail}, error.status_code, error.headers)
    return JSONResponse({"message": str(error)}, HTTPStatus.BAD_REQUEST)


def _names(hosts: Sequence[str]) -> list[str]:
    names = [f"[{host}]" if host.count(":") > 1 else host for host in hosts]
    for name in names:
        if not re.fullmatch(r"[\w.-]+|\[[\w:.]+\]", name, re.ASCII):
            raise UsageError(f"host: expected a name or an address, such as digits.example.com, received {name!r}.")
    return ["localhost", "127.0.0.1", "[::1]", *names]


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


def examples(content: bytes, *, row: int) -> list[Any]:
    """Return the list of examples in a body of JSON, as they are: the model checks their shape and numbers.

    Args:
        content: the body.
        row: numbers in a row of an image or in a step: many shorter lists would take much memory.

    Raises:
        HTTPException: it is not JSON, or not an object with a list as its ``inputs`` or ``instances``.
    """
    expected = 'body: expected one JSON object with either "inputs" or "instances", a list of examples, received'
    nested = sum(map(content.count, (b"[", b"{", b":")))
    if nested > NESTED + len(content) / (2 * row + 1):  # brackets, numbers and commas
        problem = f"{expected} {nested:,} lists and objects in {len(content):,} bytes."
        raise HTTPException(HTTPStatus.BAD_REQUEST, problem)
    try:
        parsed = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also text in another encoding, and a number of thousands of digits
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{expected} what is not JSON in UTF-8: {error}.") from None
    found = {name: type(value).__name__ for name, value in parsed.items()} if isinstance(parsed, dict) else {}
    keys = [key for key in ("inputs", "instances") if key in found]
    if len(keys) != 1 or found[keys[0]] != "list":
        received = ", ".join(f"{name!r}: {kind}" for name, kind in found.items())[:200] or type(parsed).__name__
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{expected} {received}.")
    return list(parsed[keys[0]])
