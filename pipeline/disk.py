"""Files and folders: written completely or not at all, removed, measured, and identified by SHA-256 digests."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

UNFINISHED = ".unfinished-"
"""Prefix of the names of files and folders that are being written or removed."""

SHORT = 8
"""Number of digits of a digest in the name of a folder or data set."""

PACKAGE = Path(__file__).parent


# --- writing and removing -------------------------------------------------------------------------------------------


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a path to write a file to; it replaces ``target`` when the block succeeds and is removed otherwise.

    Even after a power failure ``target`` is complete: either the old file or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    incoming = _unfinished(target)
    try:
        yield incoming
        with incoming.open("r+b") as file:
            os.fsync(file.fileno())
        incoming.replace(target)
    finally:
        with suppress(OSError):  # else it would hide an error or an interruption in the block
            incoming.unlink()


def write(target: Path, content: bytes) -> None:
    """Write a file, whole or not at all, as :func:`new_file` does; make its folder if necessary.

    Raises:
        OSError: it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_file(target) as incoming:
        incoming.write_bytes(content)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces ``target`` when the block succeeds and is removed otherwise.

    A killed process may leave a hidden folder next to ``target``, which :func:`sweep` removes.

    Raises:
        OSError: the folder cannot be written, or ``target`` is a file.
    """
    incoming, outgoing = _unfinished(target), _unfinished(target)
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
    _remove(target.rename(_unfinished(target)))


def sweep(root: Path) -> None:
    """Remove the remains of folders that killed processes were writing or removing in a folder."""
    for path in root.glob(f"{UNFINISHED}*"):
        _remove(path)


def _unfinished(target: Path) -> Path:
    """Return a new path next to ``target`` that says what a killed process has left there."""
    name = target.name[-40:]  # the names of files must not become too long
    return target.with_name(f"{UNFINISHED}{uuid.uuid4().hex[:SHORT]}-{name}")


def _remove(path: Path) -> None:
    """Remove as much as possible of a folder and its content, or only the link if it is one."""
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


# --- size -----------------------------------------------------------------------------------------------------------


def size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in and below a folder; 0 if it does not exist."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())


# --- digests --------------------------------------------------------------------------------------------------------


def file_digest(path: Path) -> str:
    """Return the digest of the content of the file at ``path``, as lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(*texts: str) -> str:
    """Return one digest of several texts, in their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def modules(*patterns: str) -> list[str]:
    """Return the paths of the modules of this package that match a pattern, such as ``kinds/*.py``; sorted."""
    return sorted({path.relative_to(PACKAGE).as_posix() for pattern in patterns for path in PACKAGE.glob(pattern)})


@cache
def code_digest(*patterns: str) -> str:
    """Return one digest of the modules that match a pattern.

    It is computed only once, so it describes the running code even if a file changes later.
    """
    names = modules(*patterns)
    return text_digest(*(file_digest(PACKAGE / name) for name in names), *names)
