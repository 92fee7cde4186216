"""An HTTP server that answers like `mlflow models serve`, and shows a web page at `/`.

GET  /                         the page
GET  /model                    the model's URI, data set and class names; for images their size, boxed: whether the
                               digit on a picture is found and scaled, and reads_rows: whether the model reads row by
                               row, from the top; for sequences their features, and a sample
POST /drawing, /sequence       a picture file, or a sequence as CSV → probabilities (C,); certainty, the largest of them
                               at the model's temperature; by_step, the answers after some of the steps: their numbers
                               (S,), from 1, and probabilities (S, C), or null; pixels (H, W) that the model saw, and
                               like, whether they resemble the class (null: not known); or the sequence (T, F)
POST /invocations              JSON, {"inputs": examples} or "instances" → {"predictions": probabilities (N, C)}
GET  /ping, /health, /version  200 once the model is loaded; the version of MLflow

One process answers all requests; its threads share the model.
"""

import asyncio
import io
import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.data.contents import listed
from pipeline.errors import DataError, UsageError, first_line
from pipeline.evaluation import metrics
from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.kinds.sequences import Sequences
from pipeline.progress import Reporter
from pipeline.serving import out_of_distribution, readers
from pipeline.tracking import models

LARGEST = 2**24  # bytes that the page sends: a picture, or a sequence as CSV
LARGEST_BODY = 2**25  # bytes of JSON; 10,000 images of 28 × 28 of MNIST have 27 million
SMALL = 2**18  # bytes of a body that never waits for others; 64 images of 28 × 28 have fewer
SECONDS = 60  # until a body must have arrived; a proxy has to handle many slow clients
HELD = 4  # large bodies in memory at the same time
HEAVY = 2  # pictures and large bodies that are processed at the same time
SHOWN = 100  # maximum steps of a sequence after which the page shows an answer

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Headers of each answer: browsers run and show only what the page itself contains."""


def serve(
    reporter: Reporter, *, model: str, host: str, port: int, allowed_hosts: Sequence[str] | None, trust: bool
) -> None:
    """Serve a model until Ctrl-C or a termination signal; the arguments are the options of the command.

    Raises:
        TrackingError: there is no such model.
        UsageError: the port is not available, or the model is not from this pipeline.
    """
    with bound(host, port) as listener:
        asgi = app(models.load(model, trust=trust), uri=model, hosts=[host, *(allowed_hosts or [])])
        place = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        reporter.result(f"Serving {model} at {place}/invocations; its page is {place}/. Press Ctrl-C to stop.")
        try:
            uvicorn.Server(config(asgi)).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn raises it again when it has ended
            reporter.note("Stopped.")


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port (0: any free one) before the model is loaded; it listens only afterwards.

    Raises:
        UsageError: the port is not available.
    """
    # asyncio sends each answer immediately (TCP_NODELAY) only if the protocol is named; otherwise it takes 40 ms more.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"port: {host}:{port} is not available: {error}. Use another --port, or 0 for any free one."
        ) from None
    return listener


def config(app: TrustedHostMiddleware) -> uvicorn.Config:
    """Return the configuration to serve an app."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        headers=list(HEADERS.items()),
        server_header=False,
        limit_concurrency=256,  # connections, fewer than the files that a process may open; others get status 503
        timeout_keep_alive=30,  # seconds that a connection may be idle after an answer
        timeout_graceful_shutdown=15,  # seconds that requests have when the server is asked to stop
        h11_max_incomplete_event_size=2**16,  # bytes of a request's headers
        log_level="warning",
    )


def app(classifier: models.Classifier, *, uri: str, hosts: Sequence[str] = ()) -> TrustedHostMiddleware:
    """Return the server's app.

    Args:
        classifier: the model.
        uri: the model's URI.
        hosts: host names that clients may use, in addition to the names of the loopback interface. Any web page may
            have a name that leads to 127.0.0.1. Without this check it could read the answers (DNS rebinding).

    Raises:
        UsageError: one of the names is not a host name.
    """
    page, folder = PAGES[type(classifier.kind)](classifier, classifier.kind), Path(__file__).with_name("page")
    about = {"model": uri, "dataset": classifier.dataset, "class_names": classifier.class_names, **page.about}
    shared, own = ((folder / f"{name}.html").read_text(encoding="utf-8") for name in ("page", page.name))
    html = shared.replace("<!-- input -->", own).replace("NAME.js", f"{page.name}.js")
    routes = [
        *_posts(classifier, page),
        *(Route(path, lambda _: PlainTextResponse("\n")) for path in ("/ping", "/health")),
        Route("/version", lambda _: PlainTextResponse(mlflow.__version__)),
        Route("/model", lambda _: JSONResponse(about)),
        Route("/", lambda _: HTMLResponse(html)),
        Mount("/static", StaticFiles(directory=folder)),
    ]
    handlers: Any = dict.fromkeys([HTTPException, DataError, ClientDisconnect], _refused)
    return TrustedHostMiddleware(Starlette(routes=routes, exception_handlers=handlers), _names(hosts), False)


def _posts(classifier: models.Classifier, page: "Drawing | Plot") -> list[Route]:
    """Return the routes that classify examples, within the limits of memory; small requests never wait."""
    held, heavy = asyncio.Semaphore(HELD), asyncio.Semaphore(HEAVY)

    async def answer(
        request: Request, function: Callable[[bytes], object], name: str, most: int, *, always: bool
    ) -> Response:
        large = int(request.headers.get("content-length", most)) > SMALL
        try:
            async with held if large else nullcontext():
                content = await _body(request, name, most)
                async with heavy if large or always else nullcontext():
                    return JSONResponse(await asyncio.to_thread(function, content))
        except asyncio.CancelledError:  # uvicorn's time for requests is over
            raise HTTPException(503, "The server is stopping.") from None

    async def ask(request: Request) -> Response:
        return await answer(request, page.answer, page.name, LARGEST, always=True)

    async def invocations(request: Request) -> Response:
        kind = request.headers.get("content-type", "none")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, f"Content-Type: must be application/json; got {kind}.")
        return await answer(
            request,
            lambda content: {"predictions": classifier.probabilities(examples(content)).tolist()},
            "body",
            LARGEST_BODY,
            always=False,
        )

    return [Route(f"/{page.name}", ask, methods=["POST"]), Route("/invocations", invocations, methods=["POST"])]


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"message": error.detail}, error.status_code, error.headers)
    return JSONResponse({"message": str(error)}, 400)


def _names(hosts: Sequence[str]) -> list[str]:
    names = [f"[{host}]" if host.count(":") > 1 else host for host in hosts]
    for name in names:
        if not re.fullmatch(r"[\w.-]+|\[[\w:.]+\]", name, re.ASCII):
            raise UsageError(f"host: must be a host name or an IP address, such as digits.example.com; got {name!r}.")
    return ["localhost", "127.0.0.1", "[::1]", *names]


# --- requests -------------------------------------------------------------------------------------------------------


async def _body(request: Request, name: str, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: it has more than ``most`` bytes, or does not arrive in time.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                if len(content) <= most:  # the rest is dropped: a client reads the answer when it has sent everything
                    content += part
    except TimeoutError:
        raise HTTPException(
            408,
            f"{name}: must arrive within {SECONDS} s; got only {len(content):,} bytes.",
            {"Connection": "close"},
        ) from None
    if len(content) > most:
        raise HTTPException(413, f"{name}: must have at most {most:,} bytes; got more. Send it in parts.")
    return bytes(content)


def examples(content: bytes) -> list[Any]:
    """Return the list of examples in a body of JSON; the model checks their shape and numbers.

    Raises:
        HTTPException: it is not JSON, or not an object with a list as its ``inputs`` or ``instances``.
    """
    needed = 'body: must be one JSON object with either "inputs" or "instances", a list of examples'
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:  # including another encoding, and numbers with thousands of digits
        raise HTTPException(400, f"{needed}; this is not JSON: {error}.") from None
    found = [parsed[key] for key in ("inputs", "instances") if isinstance(parsed, dict) and key in parsed]
    if [list] != [type(each) for each in found]:
        raise HTTPException(400, f"{needed}.")
    return list(found[0])


# --- the page of each kind of examples ------------------------------------------------------------------------------


class Drawing:
    """A page to draw on: a picture file → probabilities, and the pixels that the model saw.

    Attributes:
        name: name of the page, and of the content that it sends.
        about: facts about the model that the page needs.
    """

    name = "drawing"

    def __init__(self, classifier: models.Classifier, kind: Images) -> None:
        self._classifier, self._kind = classifier, kind
        self._similarity = out_of_distribution.of(classifier)
        self.about = {"height": kind.height, "width": kind.width, "boxed": kind.boxed, "reads_rows": self._reads_rows()}

    def answer(self, content: bytes) -> dict[str, Any]:
        """Return the answer to a picture file.

        Raises:
            DataError: it is not a picture.
        """
        pixels = readers.read(io.BytesIO(content), name=self.name, form=self._kind)
        answer = _answer(self._classifier, pixels, most=self._kind.height)
        best = int(np.argmax(answer["probabilities"]))
        like = self._similarity.holds(pixels, best) if self._similarity else None
        return answer | {"like": like, "pixels": pixels.tolist()}

    def _reads_rows(self) -> bool:
        """Return whether the model reads row by row, from the top: its answers before the last row ignore it."""
        if self._classifier.step_by_step is None:
            return False
        images = np.zeros((2, *self._kind.shape), np.uint8)
        images[1, -1] = 255
        without, with_last = self._classifier.by_step(images)
        before = len(without) - len(without) // self._kind.height
        return bool(np.allclose(without[:before], with_last[:before], atol=1e-4))


class Plot:
    """A page that plots a sequence: CSV, steps × features → probabilities, and the numbers that the model read.

    It has the attributes of :class:`Drawing`.
    """

    name = "sequence"

    def __init__(self, classifier: models.Classifier, kind: Sequences) -> None:
        self._classifier, self._features = classifier, list(kind.features)
        sample = kind.sample()[0] if classifier.example is None else classifier.example
        self.about = {"features": kind.features, "sample": sample[~np.isnan(sample).all(axis=1)].tolist()}

    def answer(self, content: bytes) -> dict[str, Any]:
        """Return the answer to a sequence (T, F) in CSV; a line of names may come first, and other columns are ignored.

        Raises:
            DataError: it is not such a sequence.
        """
        try:
            text = content.decode("utf-8-sig").strip("\r\n")
            separator = next((each for each in "\t;" if each in text.rpartition("\n")[2]), ",")
            table = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, skipinitialspace=True)
            if pd.to_numeric(table.iloc[0], errors="coerce").isna().all():
                table = table[1:].set_axis(table.iloc[0].str.strip(), axis=1)
                table = table[self._features] if set(self._features) <= set(table) else table
            sequence = table.to_numpy(np.float32)
        except ValueError as error:
            raise DataError(
                f"sequence: needs a line for each step, with a number for each of {listed(self._features)}; reading "
                f"failed: {first_line(error)}."
            ) from None
        return _answer(self._classifier, sequence, most=SHOWN) | {"sequence": sequence.tolist()}


PAGES: Mapping[type[Kind], Any] = {Images: Drawing, Sequences: Plot}
"""The page for each kind; a new kind is a line here."""


def _answer(classifier: models.Classifier, example: NDArray[Any], *, most: int) -> dict[str, Any]:
    """Return the answer to an example, and, if the model has them, the answers after at most so many of its steps."""
    probabilities = classifier.probabilities(example[None])
    certainty = float(metrics.calibrated(probabilities, classifier.temperature).max())
    by_step = None
    if classifier.step_by_step is not None:
        answers = classifier.by_step(example[None])[0]
        steps = np.unique(np.linspace(0, len(answers), min(most, len(answers)) + 1).round().astype(int))[1:]
        by_step = {"steps": steps.tolist(), "probabilities": answers[steps - 1].round(4).tolist()}
    return {"probabilities": probabilities[0].tolist(), "certainty": certainty, "by_step": by_step}
