"""Measure how fast models are served, each by a real `mlflow models serve` with one worker, over loopback.

    python benchmarks/serving.py

Three models with the same inputs and outputs take turns: the model that `pipeline` logs, the same Keras model logged
with `mlflow.tensorflow.log_model`, and a pyfunc that returns zeros and shows the cost of the server itself. Then
`pipeline predict` and Keras's own `predict`, with batches of 1,024, classify an IDX file of 60,000 images. They take
turns in separate processes. The script needs no network: weights and pixels are random, from a seed.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from pipeline.data.datasets import encode_idx, read_idx

OURS, KERAS, EMPTY = "this pipeline", "Keras flavour", "empty pyfunc"
CLIENTS = 8
IMAGES = 60_000
WARM_UP = 1_000  # requests before memory is first measured

EMPTY_MODEL = """
import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

class Empty(PythonModel):
    def predict(self, context, model_input, params=None):
        return np.zeros((len(model_input), 10), np.float32)

set_model(Empty())
"""


@dataclass(frozen=True)
class Server:
    """A running server: its cold start and its process."""

    name: str
    port: int
    process: psutil.Process
    cold_start: float

    def memory(self) -> int:
        """Return the resident memory of the server and its children, in bytes."""
        return sum(process.memory_info().rss for process in (self.process, *self.process.children(recursive=True)))


def main() -> None:
    """Log the models, serve them and print the tables."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        # In a separate process, because the process that starts the servers should not load TensorFlow.
        logged = subprocess.run(
            [sys.executable, __file__, "--log-models", arguments.cell],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        addresses = json.loads(logged.stdout.splitlines()[-1])
        servers = [stack.enter_context(_serving(name, address)) for name, address in addresses.items()]
        _print_latencies(servers, arguments)
        _print_load(servers, arguments)
        stack.close()  # ends the servers, which would take CPU time
        _print_batch(addresses[OURS], Path(folder), arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how fast models are served.")
    parser.add_argument("--cell", default="gru", help="recurrent cell of the model")
    parser.add_argument("--rounds", type=int, default=10, help="number of turns of each server")
    parser.add_argument("--requests", type=int, default=40, help="number of requests in a turn")
    parser.add_argument("--load", type=int, default=10_000, help="number of requests by 8 clients to our model")
    parser.add_argument("--log-models", metavar="CELL", help=argparse.SUPPRESS)
    parser.add_argument("--batch", nargs=3, metavar=("VARIANT", "MODEL", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        _score_on_demand(*arguments.batch)
        sys.exit()
    if arguments.log_models:
        print(json.dumps(_log_models(arguments.log_models)))
        sys.exit()
    return arguments


def _log_models(cell: str) -> dict[str, str]:
    """Log the three models, and return their addresses by name."""
    import mlflow
    import mlflow.tensorflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    from pipeline.data.splits import DataSet, Split
    from pipeline.kinds.images import Images
    from pipeline.model import network
    from pipeline.settings import Settings
    from pipeline.tracking import models

    images, labels = np.zeros((2, 28, 28), np.uint8), np.arange(2, dtype=np.uint8)
    kind = Images(height=28, width=28)
    split = Split(examples=images, labels=labels)
    data = DataSet(
        name="mnist",
        digest="0" * 64,
        source="none",
        kind=kind,
        class_names=tuple("0123456789"),
        train=split,
        validation=split,
        test=split,
        folder=Path(),
    )
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, 28, 28))]), Schema([TensorSpec(np.dtype(np.float32), (-1, 10))])
    )
    settings = Settings.of({"cell": cell})
    model = network.build(settings, kind, classes=10)
    with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
        network.save(model, settings, kind, Path(folder))
        ours = f"models:/{models.log_model(Path(folder), data, name='ours')}"
        keras = mlflow.tensorflow.log_model(model, name="keras", signature=signature).model_uri
        code = Path(folder, "empty.py")
        code.write_text(EMPTY_MODEL)
        empty = mlflow.pyfunc.log_model(name="empty", python_model=str(code), signature=signature).model_uri
    return {OURS: ours, KERAS: keras, EMPTY: empty}


@contextmanager
def _serving(name: str, address: str) -> Iterator[Server]:
    """Serve a model with one worker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", address]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow looks for uvicorn there
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "--port", str(port), "--env-manager", "local", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": path},
    ) as process:
        try:
            body = _body(1)
            while not _answers(port, body):
                if process.poll() is not None:
                    sys.exit(f"The server of {name} ended with exit code {process.returncode}.")
                time.sleep(0.05)
            yield Server(name, port, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.terminate()
                process.terminate()


def _answers(port: int, body: bytes) -> bool:
    """Return whether the server has classified an image, because the first answer is part of a cold start."""
    try:
        return _ask(http.client.HTTPConnection("127.0.0.1", port), body) > 0
    except OSError:
        return False


def _body(images: int) -> bytes:
    pixels = np.random.default_rng(images).integers(0, 256, (images, 28, 28))
    return json.dumps({"inputs": pixels.tolist()}).encode()


def _ask(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Send a request, and return the seconds until its answer was read."""
    started = time.perf_counter()
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"must answer with 200; got {answer.status}: {content[:200]!r}")
    return time.perf_counter() - started


def _print_latencies(servers: list[Server], arguments: argparse.Namespace) -> None:
    """Send requests to the servers in turn, one at a time, with 1 and 64 images, and print the table."""
    connections = {server.name: http.client.HTTPConnection("127.0.0.1", server.port) for server in servers}
    print("| model | images per request | median | 99th percentile | ÷ this pipeline | − empty pyfunc |")
    print("| --- | --- | --- | --- | --- | --- |")
    for images in (1, 64):
        body = _body(images)
        seconds: dict[str, list[list[float]]] = {server.name: [] for server in servers}
        for _ in range(arguments.rounds + 1):
            for name, connection in connections.items():
                seconds[name].append([_ask(connection, body) for _ in range(arguments.requests)])
                connection.close()  # the server would close it after five idle seconds; the next turn opens it again
        medians = {name: np.median(rounds[1:], axis=1) for name, rounds in seconds.items()}  # the first turn warms up
        for name, rounds in seconds.items():
            ratio, more = np.median(medians[name] / medians[OURS]), np.median(medians[name] - medians[EMPTY])
            print(
                f"| {name} | {images} | {1e3 * np.median(rounds[1:]):.2f} ms | "
                f"{1e3 * np.percentile(rounds[1:], 99):.2f} ms | {ratio:.2f} | {1e3 * more:.2f} ms |"
            )


def _print_load(servers: list[Server], arguments: argparse.Namespace) -> None:
    """Let clients send requests of one image at the same time, and print the table with the memory."""
    print("\n| model | cold start | requests/s, 8 clients | requests | errors | memory after 1,000 | growth since |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for server in servers:
        _load(server, WARM_UP)
        before = server.memory()
        requests = arguments.load if server.name != KERAS else arguments.load // 10
        rate, errors = _load(server, requests)
        growth = server.memory() / before - 1
        print(
            f"| {server.name} | {server.cold_start:.1f} s | {rate:,.0f} | {requests:,} | {errors} | "
            f"{before / 1e6:,.0f} MB | {growth:.1%} |"
        )


def _load(server: Server, requests: int) -> tuple[float, int]:
    """Send requests from all clients; return requests per second and the number of errors."""
    body, errors = _body(1), []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(requests // CLIENTS):
            try:
                _ask(connection, body)
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                errors.append(error)
                connection = http.client.HTTPConnection("127.0.0.1", server.port)

    threads: list[Any] = [threading.Thread(target=client) for _ in range(CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests / (time.perf_counter() - started), len(errors)


def _print_batch(address: str, folder: Path, rounds: int) -> None:
    """Let `predict` and Keras classify the same file in turn, and print the table."""
    file = folder / "images-idx3-ubyte"
    file.write_bytes(encode_idx(np.random.default_rng(1).integers(0, 256, (IMAGES, 28, 28), np.uint8)))
    variants = ("pipeline predict", "Keras predict, 1,024")
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with ExitStack() as stack:
        command = [sys.executable, __file__, "--batch"]
        processes = {
            name: stack.enter_context(
                subprocess.Popen(
                    [*command, name, address, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for name in variants
        }
        for _ in range(rounds + 1):
            for name, process in processes.items():
                seconds[name].append(_turn(process))
    print(f"\n| {IMAGES:,} images of an IDX file | seconds (min–max) | images/s | ÷ pipeline predict |")
    print("| --- | --- | --- | --- |")
    for name, all_rounds in seconds.items():
        times = np.array(all_rounds[1:])  # the first round traces
        ratio = np.median(times / np.array(seconds[variants[0]][1:]))
        print(
            f"| {name} | {np.median(times):.2f} ({times.min():.2f}–{times.max():.2f}) | "
            f"{IMAGES / np.median(times):,.0f} | {ratio:.2f} |"
        )


def _turn(process: subprocess.Popen[str]) -> float:
    """Let a process classify the file once, and return the seconds."""
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def _score_on_demand(variant: str, address: str, file: str) -> None:
    """Classify the file once for each line on standard input, and print the seconds."""
    import keras
    import mlflow

    if variant == "pipeline predict":
        from pipeline.progress import Reporter
        from pipeline.serving.predict import predict

        def score() -> None:
            predict(
                Reporter(),
                paths=[file],
                model=address,
                output=f"{file}.parquet",
                as_json=False,
                by_step=False,
                column=None,
                columns=None,
                on="local",
                trust=False,
            )
    else:
        folder = mlflow.artifacts.download_artifacts(address)
        model = keras.models.load_model(Path(folder, "artifacts", "model.keras"))

        def score() -> None:
            images = read_idx(Path(file).read_bytes(), name=file, kind="images")
            model.predict(images, batch_size=1_024, verbose=0)

    for _ in sys.stdin:
        started = time.perf_counter()
        score()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
