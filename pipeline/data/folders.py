"""Folders and files that are whole or not there: filled under another name, and renamed when complete."""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout

from pipeline import digests
from pipeline.errors import DataError, reason

if TYPE_CHECKING:
    from pipeline.progress import Reporter

REMEDY = "Make room or get permission there, or take another data_dir."


@contextmanager
def locked(root: Path, reporter: "Reporter") -> Iterator[None]:
    """Make the folder ``root`` and hold it against other processes; what one that was killed left there is removed.

    Raises:
        DataError: the folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.note(f"Waiting for another process that works in {root}.")
            lock.acquire()
    except OSError as error:
        raise DataError(
            f"data_dir: expected a folder to write to, received {root}: {reason(error)}. {REMEDY}"
        ) from None
    try:
        for left in (*root.glob(".incoming-*"), *root.glob(".outgoing-*")):
            _remove(left)
        yield
    finally:
        lock.release()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a new folder to fill; it takes the place of ``target`` when the block ends well, and vanishes otherwise.

    Raises:
        DataError: the folder cannot be written, or a file stands in its place.
    """
    name = uuid.uuid4().hex
    incoming, outgoing = target.with_name(f".incoming-{name}"), target.with_name(f".outgoing-{name}")
    if target.exists() and not target.is_dir():
        raise DataError(f"data_dir: expected a folder or nothing at {target}, found a file. Move it out of the way.")
    try:
        incoming.mkdir()
        yield incoming
        if target.exists():
            target.rename(outgoing)
        incoming.rename(target)
    except OSError as error:
        raise DataError(f"data_dir: expected to write {target}, received: {reason(error)}. {REMEDY}") from None
    finally:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        _remove(incoming)
        _remove(outgoing)


def _remove(path: Path) -> None:
    """Remove a folder with what is in it, or a link to one without; as far as that can be done."""
    if path.is_symlink():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def written_whole(target: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it takes the place of ``target`` when the block ends well, and vanishes otherwise.

    Whenever the machine stops, what is found at ``target`` is whole: as it was before, or as it is now.

    Raises:
        OSError: it cannot be written; which parameter named it is known to who called.
    """
    incoming = target.with_name(f".incoming-{uuid.uuid4().hex}")
    try:
        with incoming.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        incoming.replace(target)
    finally:
        incoming.unlink(missing_ok=True)


def check_files(folder: Path, files: Mapping[str, str], *, remedy: str) -> None:
    """Check that files (name → digest) in ``folder`` are intact.

    Raises:
        DataError: one is missing, or has another digest; ends with the ``remedy``.
    """
    for name, expected in files.items():
        try:
            received = digests.of_file(folder / name)
        except OSError as error:
            received = reason(error)
        if received != expected:
            raise DataError(f"{folder / name}: expected the digest {expected}, received {received}. {remedy}")
