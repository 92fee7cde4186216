"""A server for programs and people: it answers as `mlflow models serve` does, and shows a page to draw on at ``/``.

GET  /                         the page
GET  /model                    the model's address, data set, class names and image size; boxed: whether the digit on
                               a picture is found and scaled; reads_rows: whether it reads row by row, from the top
POST /drawing                  a picture file → probabilities (C,); certainty, the largest of them at the model's
                               temperature; like, whether it is like the answer's class (null: not known); pixels
                               (H, W) that the model saw; by_step, what it would have answered after some of its steps:
                               their numbers (S,), from 1, and probabilities (S, C)
POST /invocations              JSON, {"inputs": images (N, H, W)} or "instances" → {"predictions": probabilities (N, C)}
GET  /ping, /health, /version  200 once the model is loaded; the version of MLflow
"""

import asyncio
import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.errors import DataError, UsageError
from pipeline.evaluation import calibration
from pipeline.serving import digit_segmentation, image_files, out_of_distribution
from pipeline.serving.out_of_distribution import Similarity
from pipeline.tracking.classifier import Classifier

LARGEST_PICTURE = 2**24  # bytes
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
    about = {
        "model": address,
        "dataset": classifier.dataset,
        "class_names": classifier.class_names,
        "height": classifier.height,
        "width": classifier.width,
        "boxed": classifier.form.boxed,
        "reads_rows": _reads_rows(classifier),
    }
    return Starlette(
        routes=[
            *_posts(classifier),
            *(Route(path, lambda _: PlainTextResponse("\n")) for path in ("/ping", "/health")),
            Route("/version", lambda _: PlainTextResponse(mlflow.__version__)),
            Route("/model", lambda _: JSONResponse(about)),
            Mount("/", StaticFiles(directory=Path(__file__).with_name("page"), html=True)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_names(hosts), www_redirect=False)],
        exception_handlers={HTTPException: _refused, DataError: _refused},
    )


def _posts(classifier: Classifier) -> list[Route]:
    limiter = Limiter()
    digit_segmentation.fit(np.eye(9, dtype=np.float32), classifier.form)  # imports scikit-image
    similarity = out_of_distribution.of(classifier)

    async def drawing(request: Request) -> Response:
        def answer(content: bytes) -> dict[str, object]:
            return _of_picture(classifier, similarity, content)

        return await limiter.answer(request, answer, "drawing", most=LARGEST_PICTURE, heavy=True)

    async def invocations(request: Request) -> Response:
        def answer(content: bytes) -> dict[str, object]:
            return {"predictions": classifier.probabilities(examples(content, width=classifier.width)).tolist()}

        kind = request.headers.get("content-type", "none")
        if not re.fullmatch(r'application/json\s*(;\s*(charset="?utf-8"?)?\s*)*', kind, re.IGNORECASE):
            problem = f"Content-Type: expected application/json, in UTF-8, received {kind}."
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)
        return await limiter.answer(request, answer, "body", most=LARGEST_BODY)

    return [Route(f"/{answer.__name__}", answer, methods=["POST"]) for answer in (drawing, invocations)]


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


def _of_picture(classifier: Classifier, similarity: Similarity | None, content: bytes) -> dict[str, object]:
    pixels = image_files.read(io.BytesIO(content), name="drawing", form=classifier.form)
    probabilities = classifier.probabilities(pixels[None])[0]
    return {
        "probabilities": probabilities.tolist(),
        "certainty": float(calibration.calibrated(probabilities[None], classifier.temperature).max()),
        "like": similarity.holds(pixels, int(probabilities.argmax())) if similarity else None,
        "pixels": pixels.tolist(),
        "by_step": _by_step(classifier, pixels),
    }


def _by_step(classifier: Classifier, pixels: NDArray[np.uint8]) -> dict[str, object] | None:
    """Return the answers to an image after some steps, as many as it has rows; None if the model has none."""
    if classifier.step_by_step is None:
        return None
    probabilities = classifier.by_step(pixels[None])[0]
    steps = np.unique(np.linspace(0, len(probabilities), classifier.height + 1).round().astype(int))[1:]
    return {"steps": steps.tolist(), "probabilities": probabilities[steps - 1].round(4).tolist()}


def _reads_rows(classifier: Classifier) -> bool:
    """Return whether the model reads row by row, from the top: until the last row, its answers don't depend on it."""
    if classifier.step_by_step is None:
        return False
    images = np.zeros((2, classifier.height, classifier.width), np.uint8)
    images[1, -1] = 255
    without, with_last = classifier.by_step(images)
    before = len(without) - len(without) // classifier.height
    return bool(np.allclose(without[:before], with_last[:before], atol=1e-4))


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


def examples(content: bytes, *, width: int) -> list[Any]:
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
    keys = [key for key in ("inputs", "instances") if key in found]
    if len(keys) != 1 or found[keys[0]] != "list":
        received = ", ".join(f"{name!r}: {kind}" for name, kind in found.items())[:200] or type(parsed).__name__
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{expected} {received}.")
    return list(parsed[keys[0]])
