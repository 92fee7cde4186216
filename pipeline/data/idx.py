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
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952, section 2.3.1)."""

Kind = Literal["images", "labels"]
Bytes = npt.NDArray[np.uint8]

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
    try:
        with gzip.open(BytesIO(content)) if content.startswith(GZIP_MAGIC) else BytesIO(content) as file:
            start = file.read(4)
            _check_start(start, name, kind)
            sizes = file.read(4 * start[3])
            shape = struct.unpack(f">{start[3]}I", sizes.ljust(4 * start[3], b"\0"))
            values = file.read(math.prod(shape) + 1)  # not all of a file that is larger than its header says
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: must be a whole gzip file, but is damaged ({error}). Download it again.") from None
    header = 4 + 4 * start[3]
    expected, found = header + math.prod(shape), 4 + len(sizes) + len(values)
    if found != expected:
        state = f"has {found:,}: it is cut short" if found < expected else "they are followed by more"
        raise DataError(f"{name}: must have {expected:,} bytes, but {state}. Download it again.")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _check_start(start: bytes, name: str, kind: Kind | None) -> None:
    """Check that a file begins with the magic number of a kind of file, or of any."""
    accepted = [magic for magic, its_kind in _KINDS.items() if kind in (None, its_kind)]
    if start not in accepted:
        shown = " or ".join(f"0x{magic.hex()} ({_KINDS[magic]})" for magic in accepted)
        raise DataError(
            f"{name}: must begin with {shown}, the magic number of an IDX file of unsigned bytes; "
            f"{f'it begins with {start!r}' if start else 'it is empty'}. Check that this is the right file with the "
            "right name, and not a web page (HTML) about it."
        )


def encode(array: Bytes) -> bytes:
    """Return the IDX file of images (N, H, W) or labels (N,), not compressed: the inverse of :func:`read`."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def is_idx(path: Path) -> bool:
    """Return whether a file begins like an IDX file, or like a gzip file, which may contain one."""
    with path.open("rb") as file:
        start = file.read(4)
    return start.startswith(GZIP_MAGIC) or start in _KINDS
