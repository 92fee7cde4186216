"""Read and write the IDX format, in which MNIST and similar data sets are published.

A file is a big-endian header followed by one byte per value; the last dimension
varies fastest. The header is a magic number (two zero bytes, the type of a
value: 8 for unsigned bytes, the number of dimensions) and the size of each
dimension in four bytes. Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST
database of handwritten digits", section "File formats".

    0x00000803  images (N, H, W)
    0x00000801  labels (N,)
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952, section 2.3.1)."""

Kind = Literal["images", "labels"]
Bytes = npt.NDArray[np.uint8]
_File = IO[bytes] | gzip.GzipFile

_KINDS: dict[bytes, Kind] = {b"\0\0\x08\x01": "labels", b"\0\0\x08\x03": "images"}
"""What a file contains, by its first four bytes."""


def read(content: bytes, *, name: str, kind: Kind | None = None) -> Bytes:
    """Return the array in an IDX file, plain or gzip: images (N, H, W) or labels (N,), read-only.

    Args:
        content: the whole file.
        name: the file's name in errors.
        kind: the only accepted kind; None accepts both.

    Raises:
        DataError: it has another magic number, is a damaged gzip file, or has more or fewer bytes than the header
            requires.
    """
    with _opened(BytesIO(content), name, kind) as (file, shape):
        values = file.read()
    _check_count(len(values), math.prod(shape), "bytes", name)
    return np.frombuffer(values, np.uint8).reshape(shape)


def stream(path: Path, *, name: str, height: int, width: int, rows: int) -> Iterator[Bytes]:
    """Yield the images of an IDX file, plain or gzip, in parts (n ≤ ``rows``, H, W) that fit into memory.

    Raises:
        DataError: as for :func:`read`, or the images have another size. Damage is found after the parts before it.
    """
    with path.open("rb") as raw, _opened(raw, name, "images") as (file, (count, *size)):
        if size != [height, width]:
            raise DataError(
                f"{name}: must have images of {height} × {width} pixels, as the model reads; it has "
                f"{' × '.join(map(str, size))}. Use a model of this data, or scale the images to that size."
            )
        for start in range(0, count, rows):
            part = file.read(min(rows, count - start) * height * width)
            found = start + len(part) // (height * width)
            _check_count(found, min(start + rows, count), "images", name)
            yield np.frombuffer(part, np.uint8).reshape(-1, height, width)
        _check_count(count + len(file.read(1)), count, "images", name)


def encode(array: Bytes) -> bytes:
    """Return the IDX file of images (N, H, W) or labels (N,), not compressed: the inverse of :func:`read`."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def is_idx(path: Path) -> bool:
    """Return whether a file begins like an IDX file, or like a gzip file, which may contain one."""
    with path.open("rb") as file:
        start = file.read(4)
    return start.startswith(GZIP_MAGIC) or start in _KINDS


@contextmanager
def _opened(file: IO[bytes], name: str, kind: Kind | None) -> Iterator[tuple[_File, tuple[int, ...]]]:
    """Yield the opened file at its values, and the shape of their array."""
    compressed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    try:
        with gzip.open(file) if compressed else nullcontext(file) as content:
            yield content, _shape(content, name, kind)
    except (EOFError, struct.error, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: must be a whole IDX file, but is damaged ({error}). Download it again.") from None


def _shape(file: _File, name: str, kind: Kind | None) -> tuple[int, ...]:
    """Return the shape in the header of an IDX file, and leave the file at its values."""
    start = file.read(4)
    accepted = [magic for magic, its_kind in _KINDS.items() if kind in (None, its_kind)]
    if start not in accepted:
        shown = " or ".join(f"0x{magic.hex()} ({_KINDS[magic]})" for magic in accepted)
        raise DataError(
            f"{name}: must begin with {shown}, the magic number of an IDX file of unsigned bytes; it begins with "
            f"{start!r}. Check that this is the right file with the right name, and not a web page about it."
        )
    return struct.unpack(f">{start[3]}I", file.read(4 * start[3]))


def _check_count(found: int, expected: int, what: str, name: str) -> None:
    if found != expected:
        state = f"has {found:,}: it is cut short" if found < expected else "they are followed by more"
        raise DataError(f"{name}: must have {expected:,} {what}, but {state}. Download it again.")
