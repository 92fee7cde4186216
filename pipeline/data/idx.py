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
        plain = gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: must be a whole gzip file, but is damaged ({error}). Download it again.") from None
    start, accepted = plain[:4], [magic for magic, its_kind in _KINDS.items() if kind in (None, its_kind)]
    if start not in accepted:
        shown = " or ".join(f"0x{magic.hex()} ({_KINDS[magic]})" for magic in accepted)
        raise DataError(
            f"{name}: must begin with {shown}, the magic number of an IDX file of unsigned bytes; it begins with "
            f"{start!r}. Check that this is the right file with the right name, and not a web page (HTML) about it."
        )
    header = 4 + 4 * start[3]
    shape = struct.unpack(f">{start[3]}I", plain[4:header].ljust(header - 4, b"\0"))
    expected = header + math.prod(shape)
    if len(plain) != expected:
        state = f"has {len(plain):,}: it is cut short" if len(plain) < expected else "they are followed by more"
        raise DataError(f"{name}: must have {expected:,} bytes, but {state}. Download it again.")
    return np.frombuffer(plain, np.uint8, offset=header).reshape(shape)


def encode(array: Bytes) -> bytes:
    """Return the IDX file of images (N, H, W) or labels (N,), not compressed: the inverse of :func:`read`."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def is_idx(path: Path) -> bool:
    """Return whether a file begins like an IDX file, or like a gzip file, which may contain one."""
    with path.open("rb") as file:
        start = file.read(4)
    return start.startswith(GZIP_MAGIC) or start in _KINDS
