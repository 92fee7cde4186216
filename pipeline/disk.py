"""Write files and folders that are complete or absent even if the process stops; measure disk space."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

INCOMING, OUTGOING = ".incoming-", ".outgoing-"
"""Prefixes of the names of files and folders that are being written or removed."""


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a path to write a file to; it replaces ``target`` when the block succeeds and is removed otherwise.

    Even after a power failure ``target`` is complete: either the old file or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    incoming = target.with_name(f"{INCOMING}{uuid.uuid4().hex}")
    try:
        yield incoming
        with incoming.open("r+b") as file:
            os.fsync(file.fileno())
        incoming.replace(target)
    finally:
        with suppress(OSError):
            incoming.unlink()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces ``target`` when the block succeeds and is removed otherwise.

    A killed process may leave a hidden folder next to ``target``, which :func:`sweep` removes.

    Raises:
        OSError: the folder cannot be written, or ``target`` is a file.
    """
    incoming, outgoing = (target.with_name(f"{prefix}{uuid.uuid4().hex}") for prefix in (INCOMING, OUTGOING))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} is a file; move it, or remove it")
    incoming.mkdir()
    try:
        yield incoming
        if target.exists():
            target.rename(outgoing)
        incoming.rename(target)
    finally:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        _remove(incoming)
        _remove(outgoing)


def remove_folder(target: Path) -> None:
    """Remove a folder. If interrupted, ``target`` is complete or absent, and :func:`sweep` removes the rest.

    Raises:
        OSError: the folder cannot be renamed.
    """
    outgoing = target.with_name(f"{OUTGOING}{uuid.uuid4().hex}")
    target.rename(outgoing)
    _remove(outgoing)


def sweep(root: Path) -> None:
    """Remove what killed processes left in a folder while they wrote or removed others there."""
    for prefix in (INCOMING, OUTGOING):
        for path in root.glob(f"{prefix}*"):
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a folder with its content, or only the link if it is one, as far as possible."""
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in and below a folder; 0 if it does not exist."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())


def shown(size: float) -> str:
    """Return a number of bytes as text, such as '12 bytes', '3.4 kB', '56 MB'."""
    if size < 1_000:  # noqa: PLR2004 - SI prefixes
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1_000
        if size < 999.5 or unit == "GB":  # noqa: PLR2004
            break
    return f"{size:.1f} {unit}" if size < 10 else f"{size:,.0f} {unit}"  # noqa: PLR2004
