"""A server for programs and people: MLflow's scoring app, and a page at ``/`` to draw on.

GET  /              the page
GET  /model         what the page says of the model, and its class names
POST /drawing       a picture file → probabilities (C,), and the pixels (H, W) that the model saw
POST /invocations   MLflow's own, as `mlflow models serve` answers it
"""

import asyncio
import io
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from mlflow.pyfunc import scoring_server

from pipeline.errors import DataError
from pipeline.serving import pictures
from pipeline.tracking.classifier import Classifier

PAGE = Path(__file__).with_name("page.html")
LARGEST = 2**24  # bytes of a picture


def app(classifier: Classifier, *, address: str) -> FastAPI:
    """Return the server's app for a model and the address that it was loaded from."""
    served: FastAPI = scoring_server.init(classifier.model)

    @served.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @served.get("/model")
    async def model() -> JSONResponse:
        known = {"model": address, "dataset": classifier.dataset, "class_names": list(classifier.class_names)}
        return JSONResponse(known | {"height": classifier.height, "width": classifier.width})

    @served.post("/drawing")
    async def drawing(request: Request) -> JSONResponse:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > LARGEST:
                return JSONResponse({"message": f"drawing: expected at most {LARGEST:,} bytes, received more."}, 413)
        try:
            return JSONResponse(await asyncio.to_thread(_answer, classifier, bytes(content)))
        except DataError as error:
            return JSONResponse({"message": str(error)}, 400)

    return served


def _answer(classifier: Classifier, content: bytes) -> dict[str, object]:
    pixels = pictures.read(
        io.BytesIO(content),
        name="drawing",
        dataset=classifier.dataset,
        height=classifier.height,
        width=classifier.width,
    )
    return {"probabilities": classifier.probabilities(pixels[None])[0].tolist(), "pixels": pixels.tolist()}
