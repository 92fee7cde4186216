"""The raw folder of a data set: its four IDX files, not compressed, recognised by their content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import digests
from pipeline.data import idx
from pipeline.data.datasets import CATALOGUE, STEMS
from pipeline.data.stored import Stored
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.settings import DataSettings


@dataclass(frozen=True)
class RawFile:
    """One of the four files as it was obtained.

    Attributes:
        content: the IDX file, not compressed.
        sha256: the digest of ``content``.
        digests: both digests that may be published: ``sha256:…`` of the content, ``md5:…`` of the file as received.
    """

    content: bytes = field(repr=False)
    sha256: str
    digests: tuple[str, str]

    @classmethod
    def of(cls, received: bytes, *, stem: str, name: str) -> "RawFile":
        """Return the file ``stem``, decompressed and checked to be whole; ``name`` is for errors.

        Raises:
            DataError: it is not a whole IDX file of images or labels, as the stem says.
        """
        content = idx.encode(idx.read(received, name=name, kind="images" if "images" in stem else "labels"))
        sha256 = hashlib.sha256(content).hexdigest()
        md5 = hashlib.md5(received, usedforsecurity=False).hexdigest()
        return cls(content, sha256, (f"sha256:{sha256}", f"md5:{md5}"))


def recognise(files: Mapping[str, RawFile]) -> str:
    """Return the name of the data set that four files (by stem) make up: a published one, or ``custom-<digest8>``."""
    for name, published in CATALOGUE.items():
        if all(digest in files[stem].digests for stem, digest in zip(STEMS, published.digests, strict=True)):
            return name
    return f"custom-{_digest(files)[: digests.SHORT]}"


def _digest(files: Mapping[str, RawFile]) -> str:
    return digests.of_texts(*(files[stem].sha256 for stem in STEMS))


def raw_folder(data_dir: Path) -> Path:
    """Return the folder that holds all raw folders."""
    return data_dir / "raw"


def locate(settings: "DataSettings") -> Stored:
    """Return the raw data of a data set by its name, or what was last obtained from ``source``; intact or not.

    Raises:
        DataError: there is none yet.
    """
    key, root = settings.key, raw_folder(settings.data_dir)
    folders = [root / settings.dataset] if settings.published else sorted(root.glob("[!.]*"))
    found = [stored for folder in folders if (stored := Stored.read(folder))]
    found = [stored for stored in found if settings.published or stored.source == key]
    if not found:
        what = settings.dataset if settings.published else f"data from {key}"
        raise DataError(f"data_dir: expected {what} in {root}, found none. First run `{settings.command('download')}`.")
    return max(found, key=lambda stored: stored.obtained)


def read_arrays(raw: Stored) -> list[idx.Bytes]:
    """Return the content of the four files in the order of :data:`STEMS`: images (N, H, W) and labels (N,), twice."""
    return [idx.read((raw.folder / stem).read_bytes(), name=str(raw.folder / stem)) for stem in STEMS]


def code() -> str:
    """Return the digest of the code that decides the content of a raw folder."""
    return digests.of_code("data/raw_data.py")


def keep(
    root: Path, name: str, files: Mapping[str, RawFile], *, source: str, origin: str, inputs: dict[str, str]
) -> Stored:
    """Write four files (by stem) to ``root/name`` in place of what was there; see :class:`Stored` for the rest."""
    stored = Stored(
        folder=root / name,
        name=name,
        digest=_digest(files),
        code=code(),
        source=source,
        origin=origin,
        inputs=inputs,
        obtained=datetime.now(UTC),
    )

    def fill(incoming: Path) -> None:
        for stem, file in files.items():
            (incoming / stem).write_bytes(file.content)

    return stored.write(fill)
