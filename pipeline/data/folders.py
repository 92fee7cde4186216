"""A folder of data: locked against other processes while it changes, and its files checked against their digests."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pipeline import digests, disk
from pipeline.errors import DataError, reason

if TYPE_CHECKING:
    from pipeline.progress import Reporter


@contextmanager
def locked(root: Path, reporter: "Reporter") -> Iterator[None]:
    """Make the folder ``root`` and hold its lock; remove what killed processes left in it.

    Raises:
        DataError: the folder cannot be made or written to, here or in the block.
    """
    lock = FileLock(root / ".lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.note(f"Waiting for another process that works in {root}.")
            lock.acquire()
        disk.sweep(root)
        yield
    except OSError as error:
        raise DataError(
            f"data_dir: expected a folder to write to, received {root}: {reason(error)}. "
            "Make room or get permission there, or take another data_dir."
        ) from None
    finally:
        lock.release()


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
