"""Folders of raw or processed data: complete, locked during changes, with a manifest of their content.

<data_dir>/raw/<name>/                     the four IDX files, not compressed, or an array per part, and manifest.json
<data_dir>/processed/<name>-<digest8>/     the arrays of the splits, a table, and manifest.json
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline import disk
from pipeline.errors import DataError, reason

if TYPE_CHECKING:
    from pipeline.progress import Reporter

MANIFEST = "manifest.json"


class Stored(BaseModel):
    """A folder of data; all but ``folder`` is in its manifest.

    Attributes:
        folder: the folder.
        name: name of a known data set, or ``custom-<digest8>``.
        digest: digest of the raw data, 64 hexadecimal digits.
        code: digest of the code that wrote the folder.
        source: the requested data, see ``DataSettings.request``.
        origin: where the data was obtained: a folder, an address, or ``scikit-learn``.
        inputs: the digests of the files by name, if ``origin`` is a folder.
        obtained: time of the download.
        kind: for processed data, the name of the kind of examples.
        features: for sequences, the name of each number of a step.
        example: for processed data, the fields that restore the record of the kind.
        class_names: one per label from 0; () if the raw data does not name them.
        notes: for raw data, sentences of its reader for the user.
        files: the digest of each file by name.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path = Field(exclude=True)
    name: str
    digest: str
    code: str
    source: str
    origin: str
    inputs: dict[str, str] = {}
    obtained: AwareDatetime
    kind: str = "images"
    features: tuple[str, ...] = ()
    example: dict[str, Any] = {}
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: dict[str, str] = {}

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the data in a folder, intact or not; None if it has no manifest of this pipeline."""
        try:
            stored = cls.model_validate(json.loads((folder / MANIFEST).read_bytes()) | {"folder": folder})
        except (OSError, TypeError, ValueError):
            return None
        ours = folder.name in (stored.name, f"{stored.name}-{stored.digest[: disk.SHORT]}")
        return stored if ours else None

    def write(self, fill: Callable[[Path], None]) -> Self:
        """Let ``fill`` write the files into a new folder, which replaces the old one; return it with its digests.

        Raises:
            OSError: the folder cannot be written.
        """
        with disk.new_folder(self.folder) as incoming:
            fill(incoming)
            files = {path.name: disk.file_digest(path) for path in sorted(incoming.iterdir())}
            written = self.model_copy(update={"files": files})
            (incoming / MANIFEST).write_text(written.model_dump_json(indent=2))
        return written

    def verify(self) -> None:
        """Check that the files have not changed since they were written.

        Raises:
            DataError: a file is missing or has changed.
        """
        for name, expected in self.files.items():
            try:
                received = disk.file_digest(self.folder / name)
            except OSError as error:
                received = reason(error)
            if received != expected:
                command = "preprocess" if self.example else "download"
                raise DataError(
                    f"{self.folder / name}: expected the digest {expected}, received {received}. "
                    f"Run `pipeline {command}` again, with the same dataset and source."
                )


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
            reporter.note(f"Waiting for another process that is using {root}.")
            lock.acquire()
        disk.sweep(root)
        yield
    except OSError as error:
        raise DataError(
            f"data_dir: expected a folder to write to, received {root}: {reason(error)}. "
            "Free some space or change the permissions, or use another data_dir."
        ) from None
    finally:
        lock.release()
