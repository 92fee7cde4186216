"""Folders that are whole or not there: filled under another name, renamed when complete, checked by digests."""

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pipeline import digests
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.progress import Reporter


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
        raise DataError(f"data_dir: expected a folder to write to, received {root}: {error.strerror}.") from None
    try:
        for left in (*root.glob(".incoming-*"), *root.glob(".outgoing-*")):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a new folder to fill; it takes the place of ``target`` when the block ends well, and vanishes otherwise.

    Raises:
        DataError: the folder cannot be written.
    """
    name = uuid.uuid4().hex
    incoming, outgoing = target.with_name(f".incoming-{name}"), target.with_name(f".outgoing-{name}")
    try:
        incoming.mkdir()
        yield incoming
        if target.exists():
            target.rename(outgoing)
        incoming.rename(target)
    except OSError as error:
        raise DataError(f"data_dir: expected to write {target}, received: {error.strerror}.") from None
    finally:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.rmtree(outgoing, ignore_errors=True)


def check_files(folder: Path, files: Mapping[str, str], *, remedy: str) -> None:
    """Check that files (name → digest) in ``folder`` are intact.

    Raises:
        DataError: one is missing, or has another digest; ends with the ``remedy``.
    """
    for name, expected in files.items():
        try:
            received = digests.of_file(folder / name)
        except OSError as error:
            received = error.strerror or type(error).__name__
        if received != expected:
            raise DataError(f"{folder / name}: expected the digest {expected}, received {received}. {remedy}")
