"""The IDX format, in which MNIST and its kin are published: bytes → uint8 array, and back.

A file is a big-endian header and then one byte per value, the last dimension
varying fastest. The header is a magic number (two zero bytes, the type of a
value: 8 for unsigned bytes, the number of dimensions) and each dimension's
size in four bytes. Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST
database of handwritten digits", section "File formats".

    0x00000803  images (N, H, W)
    0x00000801  labels (N,)
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952, section 2.3.1)."""

LARGEST = 8 * 2**30
"""Bytes of content that are read of one file at most: MNIST8M, the largest known to be published, has 6.4e9."""

PART = 2**20
"""Bytes that are read at once: no more is taken than there is, whatever a header promises."""

Kind = Literal["images", "labels"]

_UNSIGNED_BYTES = 0x0800
_KINDS: dict[int, Kind] = {_UNSIGNED_BYTES + 1: "labels", _UNSIGNED_BYTES + 3: "images"}


def read(content: bytes | memoryview, *, name: str, kind: Kind | None = None) -> npt.NDArray[np.uint8]:
    """Return the array that an IDX file holds: images (N, H, W) or labels (N,), a read-only view of ``content``.

    Args:
        content: the whole file, not compressed.
        name: the file, as the error shall name it.
        kind: ``"images"`` or ``"labels"``, where only that will do.

    Raises:
        DataError: an HTML page, another magic number, or more or fewer bytes than the header says.
    """
    _refuse_html(content, name)
    shape, start = _header(content, name, kind)
    expected = start + math.prod(shape)
    if len(content) != expected:
        state = "cut short" if len(content) < expected else "followed by something else"
        raise DataError(
            f"{name}: expected {expected:,} bytes, for {' × '.join(map(str, shape))} values and a header of {start}, "
            f"received {len(content):,}: the file is {state}. Fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def encode(array: npt.NDArray[np.uint8]) -> bytes:
    """Return the IDX file of images (N, H, W) or labels (N,): the inverse of :func:`read`."""
    return struct.pack(f">{1 + array.ndim}I", _UNSIGNED_BYTES + array.ndim, *array.shape) + array.tobytes()


class Received(RawIOBase):
    """A file as it arrives, to be read once: counted and hashed as it is read, and refused where too much comes.

    Args:
        file: gives as many bytes as it is asked for, while there are any.
        name: of it, as the error shall name it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self._hashes = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in ("sha256", "md5")}
        self.size = 0
        self.most = PART  # a header is shorter

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader gives
        """Fill the buffer as far as the file goes, and return the number of bytes.

        Raises:
            DataError: it goes further than it may.
        """
        part = self._file.read(len(buffer))
        self.size += len(part)
        if self.size > self.most:
            raise DataError(
                f"{self.name}: expected at most {self.most:,} bytes for what its header promises, received more. "
                "Check that this is the right file under the right name."
            )
        for each in self._hashes.values():
            each.update(part)
        buffer[: len(part)] = part
        return len(part)

    def digests(self) -> dict[str, str]:
        """Return the digests of what has been read, by the name of the algorithm."""
        return {algorithm: each.hexdigest() for algorithm, each in self._hashes.items()}


def unpack(received: Received, *, kind: Kind | None = None) -> bytes:
    """Return the content of an IDX file, decompressed where it is gzip: what its header promises, and no more is read.

    Raises:
        DataError: as :func:`read`; the gzip file is cut short or damaged, or the header promises too much.
    """
    name = received.name
    buffered = BufferedReader(received, PART)
    compressed = buffered.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
    with _gzip_damage_explained(name, lambda: received.size), gzip.open(buffered) if compressed else buffered as file:
        start = file.read(64)
        _refuse_html(start, name)
        shape, header = _header(start, name, kind)
        expected = header + math.prod(shape)
        if expected > LARGEST:
            raise DataError(
                f"{name}: expected at most {LARGEST:,} bytes, received a header that promises {expected:,}. "
                "Check that this is the right file, or take less data."
            )
        received.most = expected + expected // 100 + PART  # of which no compression makes more
        content = b"".join([start, *_parts(file, expected + 1 - len(start))])
    if len(content) > expected:
        raise DataError(
            f"{name}: expected {expected:,} bytes, as its header says, received more: the file is followed by "
            "something else. Fetch it again."
        )
    read(content, name=name, kind=kind)
    return content


def _parts(file: BufferedIOBase, size: int) -> Iterator[bytes]:
    """Yield up to ``size`` bytes of a file in parts."""
    while size > 0 and (part := file.read(min(size, PART))):
        size -= len(part)
        yield part


def is_idx(path: Path) -> bool:
    """Return whether a file begins like an IDX file, or like a gzip file, which would hold one."""
    with path.open("rb") as file:
        start = file.read(4)
    return start.startswith(GZIP_MAGIC) or int.from_bytes(start, "big") in _KINDS


def stream(path: Path, *, height: int, width: int, rows: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images of an IDX file, plain or gzip, in parts (n ≤ ``rows``, H, W): as much as is in memory at once.

    Raises:
        DataError: it is not an IDX file of images of this size, or it is cut short, too long or damaged, which shows
            after the parts before it.
    """
    name = str(path)
    with _opened(path) as file, _gzip_damage_explained(name, lambda: path.stat().st_size):
        (count, *size), _ = _header(file.read(16), name, "images")
        if size != [height, width]:
            raise DataError(
                f"{name}: expected images of {height} × {width} pixels, which the model reads, "
                f"received {' × '.join(map(str, size))}. Take the model of this data, or bring the images to that size."
            )
        for done in range(0, count, rows):
            content = file.read(min(rows, count - done) * height * width)
            if len(content) < min(rows, count - done) * height * width:
                found = done + len(content) // (height * width)
                raise DataError(f"{name}: expected {count:,} images, received {found:,}: cut short. Fetch it again.")
            yield np.frombuffer(content, np.uint8).reshape(-1, height, width)
        if file.read(1):
            raise DataError(
                f"{name}: expected {count:,} images, received more: the file is followed by something else."
            )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for its content, which is decompressed where it is gzip."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.open(file) as content:
            yield content  # type: ignore[misc] # reads like one


@contextmanager
def _gzip_damage_explained(name: str, size: Callable[[], int]) -> Iterator[None]:
    """Turn what a damaged gzip file, of so many bytes as ``size`` says, raises into an error for the user."""
    try:
        yield
    except EOFError:
        problem = f"one that ends after {size():,} bytes, before its content does"
    except (zlib.error, gzip.BadGzipFile) as error:
        problem = f"a damaged one ({error})"
    else:
        return
    raise DataError(f"{name}: expected a whole gzip file, received {problem}. Fetch it again.")


def _refuse_html(content: bytes | memoryview, name: str) -> None:
    start = bytes(content[:64]).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        raise DataError(
            f"{name}: expected an IDX file, received an HTML or XML page that begins "
            f"{start[:24].decode('latin-1')!r}, as servers send in place of a file. "
            "See what is at that address with a browser, or take another source."
        )


def _header(content: bytes | memoryview, name: str, kind: Kind | None) -> tuple[tuple[int, ...], int]:
    """Return the array's shape and the number of bytes ahead of its values."""
    magics = [magic for magic, its_kind in _KINDS.items() if kind in (None, its_kind)]
    expected = " or ".join(f"0x{magic:08x} ({_KINDS[magic]})" for magic in magics)
    magic = int.from_bytes(content[:4], "big")
    start = 4 * (1 + magic % 0x100)
    if len(content) < 4 or magic not in magics:  # noqa: PLR2004 - the bytes of the magic number
        received = f"0x{bytes(content[:4]).hex()}" if content else "an empty file"
        received += f" ({_KINDS[magic]})" if magic in _KINDS else ""
        raise DataError(
            f"{name}: expected the magic number {expected} of an IDX file of unsigned bytes, received {received}. "
            "Check that this is the right file under the right name."
        )
    if len(content) < start:
        raise DataError(
            f"{name}: expected a header of {start} bytes, received {len(content)} in all: the file is cut short. "
            "Fetch it again."
        )
    return struct.unpack(f">{magic % 0x100}I", content[4:start]), start
