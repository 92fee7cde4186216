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

import io
import re
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import mlflow
import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.errors import DataError, UsageError
from pipeline.evaluation import calibration
from pipeline.serving import digit_segmentation, limits, out_of_distribution, pictures
from pipeline.serving.out_of_distribution import Similarity
from pipeline.tracking.classifier import Classifier

LARGEST_PICTURE = 2**24  # bytes
LARGEST_BODY = 2**25  # bytes of JSON; 10,000 images of 28 × 28, as MNIST's are, have 27 million

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
    limiter = limits.Limiter()
    digit_segmentation.fit(np.eye(9, dtype=np.float32), classifier.form)  # imports scikit-image
    similarity = out_of_distribution.of(classifier)

    async def drawing(request: Request) -> Response:
        def answer(content: bytes) -> dict[str, object]:
            return _of_picture(classifier, similarity, content)

        return await limiter.answer(request, answer, "drawing", most=LARGEST_PICTURE, heavy=True)

    async def invocations(request: Request) -> Response:
        def answer(content: bytes) -> dict[str, object]:
            images = limits.images(content, width=classifier.width)
            return {"predictions": classifier.probabilities(images).tolist()}

        limits.check_json(request.headers.get("content-type"))
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
    pixels = pictures.read(io.BytesIO(content), name="drawing", form=classifier.form)
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
