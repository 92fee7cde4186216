"""Small data sets as IDX files, made by hand; a web server for them, which can fail; a reporter with a memory."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.data.datasets import Published
from pipeline.progress import Reporter

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class Remembering(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def images(count: int, height: int = 2, width: int = 3, start: int = 0) -> bytes:
    pixels = bytes((start + position) % 256 for position in range(count * height * width))
    return struct.pack(">4I", 0x0803, count, height, width) + pixels


def labels(values: Sequence[int]) -> bytes:
    return struct.pack(">2I", 0x0801, len(values)) + bytes(values)


def small_set(changes: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return twenty training and four test images of 2 × 3 pixels in two classes, with changed files by stem."""
    contents = images(20), labels([0, 1] * 10), images(4, start=120), labels([1, 1, 0, 0])
    return dict(zip(STEMS, contents, strict=True)) | dict(changes or {})


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def as_gz(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{stem}.gz": zipped(content) for stem, content in files.items()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def set_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a data set by the contract: the digest of the four digests, one per line."""
    return sha256("\n".join(sha256(files[stem]) for stem in STEMS).encode())


def published(files: Mapping[str, bytes], mirror: str = "", folder: Path | None = None) -> Published:
    digests = tuple(sha256(files[stem]) for stem in STEMS)
    return Published(mirror=mirror, folder=folder, digests=digests, class_names=("no", "yes"), validation=5)


def everything_in(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder except the lock, by their relative paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@dataclass
class Server:
    """The address of a server, and its requests: file names, queries and authorizations."""

    base: str
    requests: list[str] = field(default_factory=list)
    credentials: list[tuple[str, str | None]] = field(default_factory=list)


@dataclass
class Answer:
    """An answer of a server; ``length`` is the size of the body that it claims, -1 for the actual one."""

    body: bytes = b""
    status: int = 200
    length: int = -1


@contextmanager
def serving(answers: Mapping[str, bytes | Answer | list[bytes | Answer]]) -> Iterator[Server]:
    """Run a web server on loopback, with ``answers`` by file name (a list: one after the other) and 404 for others."""
    queues = {name: iter(answer) for name, answer in answers.items() if isinstance(answer, list)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            name = path.rpartition("/")[2]
            server.requests.append(name)
            server.credentials.append((query, self.headers["Authorization"]))
            answer = next(queues[name]) if name in queues else answers.get(name, Answer(status=404))
            assert not isinstance(answer, list)
            answer = answer if isinstance(answer, Answer) else Answer(answer)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) if answer.length < 0 else answer.length))
            self.end_headers()
            with suppress(ConnectionError):  # the client has read enough
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{listener.server_port}/data/")
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
