"""Stored data: folders with a manifest, locked during changes, and the raw data in them.

<data_dir>/raw/<name>/                     four IDX files, not compressed; or an array per part; and manifest.json
<data_dir>/processed/<name>-<digest8>/     the arrays of the splits, a table, and manifest.json

The arrays of raw data are ``<part>_examples.npy``, ``<part>_labels.npy`` and ``<part>_ids.npy``.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline import disk
from pipeline.data import idx
from pipeline.data.contents import Contents, RawPart, classes
from pipeline.data.datasets import CATALOGUE, STEMS
from pipeline.data.splits import Split
from pipeline.errors import DataError, reason

if TYPE_CHECKING:
    from pipeline.progress import Reporter
    from pipeline.settings import DataSettings

MANIFEST = "manifest.json"

CODE = ("data/stored.py", "data/formats.py")
"""The modules that, with everything they import, determine the content of a raw folder."""


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

    @classmethod
    def all_in(cls, root: Path) -> list[Self]:
        """Return the data in the folders of a folder, intact or not."""
        return [stored for folder in sorted(root.glob("[!.]*")) if (stored := cls.read(folder))]

    def write(self, files: Iterable[tuple[str, bytes | NDArray[Any]]]) -> Self:
        """Write files, by name, into a new folder, which replaces the old one; return it with their digests.

        Raises:
            OSError: the folder cannot be written.
        """
        with disk.new_folder(self.folder) as incoming:
            for name, content in files:
                with (incoming / name).open("wb") as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:  # given a real file, NumPy would hide the reason why it cannot be written
                        np.save(SimpleNamespace(write=file.write), content)
            digest_of = {path.name: disk.file_digest(path) for path in sorted(incoming.iterdir())}
            written = self.model_copy(update={"files": digest_of})
            (incoming / MANIFEST).write_text(written.model_dump_json(indent=2))
        return written

    def verify(self) -> None:
        """Check that the files have not changed since they were written.

        Raises:
            DataError: a file is missing or has changed.
        """
        for name, digest in self.files.items():
            path = self.folder / name
            if not path.is_file() or disk.file_digest(path) != digest:
                raise DataError(
                    f"{path}: must exist and have the digest {digest}, but was changed or removed. "
                    f"Run `pipeline {'preprocess' if self.example else 'download'}` again, with the same dataset "
                    "and source."
                )


@contextmanager
def locked(root: Path, reporter: "Reporter") -> Iterator[None]:
    """Make the folder ``root`` and hold its lock; remove the remains of killed processes in it.

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
            f"data_dir: must be a folder that can be written to; {root}: {reason(error)}. "
            "Free some space or change the permissions, or use another data_dir."
        ) from None
    finally:
        lock.release()


# --- raw data -------------------------------------------------------------------------------------------------------


class RawFile(NamedTuple):
    """One of the four files as it was obtained.

    Attributes:
        content: the uncompressed IDX file.
        digests: both digests that may be published: ``sha256:…`` of the content, ``md5:…`` of the file as received.
    """

    content: bytes
    digests: tuple[str, str]

    @classmethod
    def of(cls, received: bytes, *, stem: str, name: str) -> "RawFile":
        """Return the file ``stem``, decompressed and checked for completeness; ``name`` is for errors.

        Raises:
            DataError: it is not a complete IDX file of images or labels, as the stem requires.
        """
        content = idx.encode(idx.read(received, name=name, kind="images" if "images" in stem else "labels"))
        md5 = hashlib.md5(received, usedforsecurity=False).hexdigest()
        return cls(content, (f"sha256:{hashlib.sha256(content).hexdigest()}", f"md5:{md5}"))


def raw_folder(data_dir: Path) -> Path:
    """Return the folder that holds all raw folders."""
    return data_dir / "raw"


def locate(settings: "DataSettings") -> Stored:
    """Return the raw data of a published data set, or the latest data from ``source``; intact or not.

    Raises:
        DataError: it has not been downloaded yet.
    """
    root = raw_folder(settings.data_dir)
    wanted = ("name", settings.dataset) if settings.published else ("source", settings.request)
    found = [stored for stored in Stored.all_in(root) if getattr(stored, wanted[0]) == wanted[1]]
    if not found:
        what = settings.dataset if settings.published else f"data from {settings.request}"
        raise DataError(f"data_dir: must have {what} in {root}. First run `{settings.command('download')}`.")
    return max(found, key=lambda stored: stored.obtained)


def read(raw: Stored) -> dict[str, Split]:
    """Return the parts of a raw folder; check them if they are IDX files.

    Raises:
        DataError: the IDX files do not fit together.
    """
    if set(raw.files) == set(STEMS):
        arrays = [idx.read((raw.folder / stem).read_bytes(), name=str(raw.folder / stem)) for stem in STEMS]
        parts = {
            part: RawPart(source=STEMS[at], examples=arrays[at], labels=arrays[at + 1])
            for part, at in (("train", 0), ("test", 2))
        }
        classes(parts)
        return {**parts}
    loaded: dict[str, dict[str, NDArray[Any]]] = {}
    for name in raw.files:
        part, what = name.removesuffix(".npy").split("_")
        loaded.setdefault(part, {})[what] = np.load(raw.folder / name, mmap_mode="r")
    return {part: Split(**arrays) for part, arrays in loaded.items()}


def code() -> str:
    """Return the digest of the code that determines the content of a raw folder."""
    return disk.code_digest(*CODE)


def keep(settings: "DataSettings", obtained: Mapping[str, RawFile] | Contents, **of: Any) -> Stored:
    """Write obtained data to a raw folder, which replaces any old one; see :class:`Stored` for the other arguments."""
    files: dict[str, Any]
    if isinstance(obtained, Contents):
        files = {
            f"{part}_{what}.npy": np.asarray(array, np.int32 if what == "labels" else None)
            for part, split in obtained.parts.items()
            for what, array in vars(split).items()
        }
        digest = disk.text_digest(*obtained.features, *obtained.class_names, *map(_of_array, files.values()))
        name = f"{obtained.name}-{digest[: disk.SHORT]}"
        of |= {field: getattr(obtained, field) for field in ("features", "class_names", "notes")}
    else:
        files = {stem: file.content for stem, file in obtained.items()}
        digest = disk.text_digest(*(obtained[stem].digests[0].removeprefix("sha256:") for stem in STEMS))
        name = settings.dataset if settings.published else _name(obtained, digest)
    of |= {"folder": raw_folder(settings.data_dir) / name, "source": settings.request, "obtained": datetime.now(UTC)}
    return Stored(name=name, digest=digest, code=code(), **of).write(files.items())


def _name(files: Mapping[str, RawFile], digest: str) -> str:
    """Return the name of the data set in four files (by stem): a published one, or ``custom-<digest8>``."""
    for name, published in CATALOGUE.items():
        if all(digest in files[stem].digests for stem, digest in zip(STEMS, published.digests, strict=True)):
            return name
    return f"custom-{digest[: disk.SHORT]}"


def _of_array(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
