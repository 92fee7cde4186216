"""A server for programs and people: as `mlflow models serve` answers, within limits; and a page at ``/`` to draw on.

GET  /                         the page
GET  /model                    what the page says of the model, and its class names
POST /drawing                  a picture file → probabilities (C,), how certain the answer is: the largest of them at
                               the model's temperature; whether it is like the answer's class (null: not known), the
                               pixels (H, W) that the model saw, and what it would have answered after some of its
                               steps: their numbers (S,), from 1, and probabilities (S, C)
POST /invocations              JSON, {"inputs": images (N, H, W)} or "instances" → {"predictions": probabilities (N, C)}
GET  /ping, /health, /version  whether it answers; the version of MLflow
"""

import io
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path

import mlflow
import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.evaluation import calibration
from pipeline.serving import limits, out_of_distribution, pictures
from pipeline.serving.connections import Hosts
from pipeline.serving.limits import Gate, RefusedError
from pipeline.serving.out_of_distribution import Likeness
from pipeline.tracking.classifier import Classifier

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
LARGEST_PICTURE = 2**24  # bytes
LARGEST_BODY = 2**25  # bytes of JSON; 10,000 images of 28 × 28, as MNIST's are, have 27 million


def app(classifier: Classifier, *, address: str, hosts: Collection[str] = ()) -> Hosts:
    """Return the server's app for a model, the address that it was loaded from, and the names that it answers to."""
    served = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_page(served, classifier, address)
    _add_answers(served, classifier)
    _add_health(served)
    _add_refusals(served)
    return Hosts(served, hosts)


def _add_page(served: FastAPI, classifier: Classifier, address: str) -> None:
    known: dict[str, object] = {
        "model": address,
        "dataset": classifier.dataset,
        "class_names": list(classifier.class_names),
    }
    known |= {"height": classifier.height, "width": classifier.width}

    @served.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    @served.get("/model")
    async def model() -> JSONResponse:
        return JSONResponse(known)


def _add_answers(served: FastAPI, classifier: Classifier) -> None:
    gate = Gate()
    like = out_of_distribution.of(
        classifier.dataset, height=classifier.height, width=classifier.width, classes=classifier.class_names
    )

    @served.post("/drawing")
    async def drawing(request: Request) -> JSONResponse:
        async with gate.body(request, "drawing", most=LARGEST_PICTURE) as content:
            return JSONResponse(await gate.work(_of_picture, classifier, like, content, dear=True))

    @served.post("/invocations")
    async def invocations(request: Request) -> JSONResponse:
        async with gate.body(request, "body", most=LARGEST_BODY) as content:
            limits.check_json(request.headers.get("content-type"))
            dear = len(content) > limits.SMALL
            return JSONResponse(await gate.work(_of_images, classifier, content, dear=dear))


def _add_health(served: FastAPI) -> None:
    """Answer what MLflow's scoring server answers besides."""

    @served.get("/ping")
    @served.get("/health")
    async def ping() -> PlainTextResponse:
        return PlainTextResponse("\n")

    @served.get("/version")
    async def version() -> PlainTextResponse:
        return PlainTextResponse(mlflow.__version__)


def _add_refusals(served: FastAPI) -> None:
    @served.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        closing = {"Connection": "close"} if error.status == HTTPStatus.REQUEST_TIMEOUT else None
        return JSONResponse({"message": error.message}, error.status, closing)

    @served.exception_handler(DataError)
    async def no_image(request: Request, error: DataError) -> JSONResponse:
        return JSONResponse({"message": str(error)}, HTTPStatus.BAD_REQUEST)


def _of_picture(classifier: Classifier, like: Likeness | None, content: bytearray) -> dict[str, object]:
    pixels = pictures.read(io.BytesIO(content), name="drawing", form=classifier.form)
    probabilities = classifier.probabilities(pixels[None])[0]
    return {
        "probabilities": probabilities.tolist(),
        "certainty": float(calibration.calibrated(probabilities[None], classifier.temperature).max()),
        "like": like.holds(pixels, int(probabilities.argmax())) if like else None,
        "pixels": pixels.tolist(),
        "by_step": _by_step(classifier, pixels),
    }


def _by_step(classifier: Classifier, pixels: NDArray[np.uint8]) -> dict[str, object] | None:
    """Return the answers to an image after some of the steps, as many as it has rows; None if the model tells none."""
    if classifier.step_by_step is None:
        return None
    probabilities = classifier.by_step(pixels[None])[0]
    steps = np.unique(np.linspace(0, len(probabilities), classifier.height + 1).round().astype(int))[1:]
    return {"steps": steps.tolist(), "probabilities": probabilities[steps - 1].round(4).tolist()}


def _of_images(classifier: Classifier, content: bytearray) -> dict[str, object]:
    images = limits.images(content, width=classifier.width)
    return {"predictions": classifier.probabilities(images).tolist()}
