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

from pipeline import digests, disk
from pipeline.errors import DataError, reason

if TYPE_CHECKING:
    from pipeline.progress import Reporter

MANIFEST = "manifest.json"


class Stored(BaseModel):
    """A folder of data; all but ``folder`` is in its manifest.

    Attributes:
        folder: where it is.
        name: of a known data set, or ``custom-<digest8>``.
        digest: of the raw data, 64 hexadecimal digits.
        code: digest of the code that wrote the folder.
        source: what was asked for, as ``DataSettings.request`` gives it.
        origin: where the data was obtained: a folder, a mirror's or another address, or ``scikit-learn``.
        inputs: if that is a folder: the digests of the files in it, by name.
        obtained: when.
        kind: of processed data, the name of the kind of examples.
        features: of sequences, the name of each number of a step.
        example: of processed data, what restores the record of the kind.
        class_names: one per label from 0; () where the raw data does not name them.
        notes: of raw data, sentences of its reader for the user.
        files: the digest of each file, by name.
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
        """Return what a folder holds, intact or not; None where it has no manifest of this pipeline."""
        try:
            stored = cls.model_validate(json.loads((folder / MANIFEST).read_bytes()) | {"folder": folder})
        except (OSError, TypeError, ValueError):
            return None
        ours = folder.name in (stored.name, f"{stored.name}-{stored.digest[: digests.SHORT]}")
        return stored if ours else None

    def write(self, fill: Callable[[Path], None]) -> Self:
        """Let ``fill`` write the files into a new folder, which replaces the old one; return it with its digests.

        Raises:
            OSError: the folder cannot be written.
        """
        with disk.new_folder(self.folder) as incoming:
            fill(incoming)
            files = {path.name: digests.of_file(path) for path in sorted(incoming.iterdir())}
            written = self.model_copy(update={"files": files})
            (incoming / MANIFEST).write_text(written.model_dump_json(indent=2))
        return written

    def verify(self) -> None:
        """Check that the files are what they were when they were written.

        Raises:
            DataError: one is missing or has changed.
        """
        for name, expected in self.files.items():
            try:
                received = digests.of_file(self.folder / name)
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
