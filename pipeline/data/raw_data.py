"""The raw folder of a data set: four uncompressed IDX files, recognised by their content.

Other formats are stored as arrays: ``<part>_examples.npy``, ``<part>_labels.npy`` and, if the examples have names,
``<part>_ids.npy`` for each part.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data import idx
from pipeline.data.contents import Contents, Part
from pipeline.data.datasets import CATALOGUE, STEMS
from pipeline.data.stored import Stored
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.settings import DataSettings

CODE = ("data/raw_data.py", "data/formats.py")
"""The modules that, with everything they import, determine the content of a raw folder."""


@dataclass(frozen=True)
class RawFile:
    """One of the four files as it was obtained.

    Attributes:
        content: the uncompressed IDX file.
        sha256: the digest of ``content``.
        digests: both digests that may be published: ``sha256:…`` of the content, ``md5:…`` of the file as received.
    """

    content: bytes = field(repr=False)
    sha256: str
    digests: tuple[str, str]

    @classmethod
    def of(cls, received: bytes, *, stem: str, name: str) -> "RawFile":
        """Return the file ``stem``, decompressed and checked for completeness; ``name`` is for errors.

        Raises:
            DataError: it is not a complete IDX file of images or labels, as the stem says.
        """
        content = idx.encode(idx.read(received, name=name, kind="images" if "images" in stem else "labels"))
        sha256 = hashlib.sha256(content).hexdigest()
        md5 = hashlib.md5(received, usedforsecurity=False).hexdigest()
        return cls(content, sha256, (f"sha256:{sha256}", f"md5:{md5}"))


def recognise(files: Mapping[str, RawFile]) -> str:
    """Return the name of the data set in four files (by stem): a published one, or ``custom-<digest8>``."""
    for name, published in CATALOGUE.items():
        if all(digest in files[stem].digests for stem, digest in zip(STEMS, published.digests, strict=True)):
            return name
    return f"custom-{_digest(files)[: disk.SHORT]}"


def _digest(files: Mapping[str, RawFile]) -> str:
    return disk.text_digest(*(files[stem].sha256 for stem in STEMS))


def raw_folder(data_dir: Path) -> Path:
    """Return the folder that holds all raw folders."""
    return data_dir / "raw"


def locate(settings: "DataSettings") -> Stored:
    """Return the raw data of a published data set, or the latest data from ``source``; intact or not.

    Raises:
        DataError: it has not been downloaded yet.
    """
    request, root = settings.request, raw_folder(settings.data_dir)
    folders = [root / settings.dataset] if settings.published else sorted(root.glob("[!.]*"))
    found = [stored for folder in folders if (stored := Stored.read(folder))]
    found = [stored for stored in found if settings.published or stored.source == request]
    if not found:
        what = settings.dataset if settings.published else f"data from {request}"
        raise DataError(f"data_dir: expected {what} in {root}, found none. First run `{settings.command('download')}`.")
    return max(found, key=lambda stored: stored.obtained)


def read(raw: Stored) -> Contents:
    """Return the content of a raw folder; its class names are () if the folder does not have them."""
    if set(raw.files) == set(STEMS):
        arrays = [idx.read((raw.folder / stem).read_bytes(), name=str(raw.folder / stem)) for stem in STEMS]
        train, test = (Part(examples=arrays[at], labels=arrays[at + 1]) for at in (0, 2))
        return Contents(name=raw.name, features=(), class_names=(), train=train, test=test)
    parts: dict[str, Any] = {part: _part(raw, part) for part in {name.partition("_")[0] for name in raw.files}}
    return Contents(name=raw.name, features=raw.features, class_names=raw.class_names, **parts)


def _part(raw: Stored, part: str) -> Part:
    arrays = {what: f"{part}_{what}.npy" for what in ("examples", "labels", "ids")}
    loaded = {what: np.load(raw.folder / file, mmap_mode="r") for what, file in arrays.items() if file in raw.files}
    return Part(**loaded | {"ids": tuple(loaded["ids"].tolist()) if "ids" in loaded else ()})


def code() -> str:
    """Return the digest of the code that determines the content of a raw folder."""
    return disk.code_digest(*CODE)


def keep(
    root: Path, name: str, files: Mapping[str, RawFile], *, source: str, origin: str, inputs: dict[str, str]
) -> Stored:
    """Write four files (by stem) to ``root/name``, replacing any old folder; see :class:`Stored` for the arguments."""

    def fill(incoming: Path) -> None:
        for stem, file in files.items():
            (incoming / stem).write_bytes(file.content)

    return _stored(root, name, _digest(files), source=source, origin=origin, inputs=inputs).write(fill)


def keep_contents(root: Path, contents: Contents, *, source: str, origin: str, inputs: dict[str, str]) -> Stored:
    """Write the content of a source to a folder in ``root``, which is named after the content and its digest."""
    arrays = {
        f"{part}_{what}": array
        for part, content in contents.parts.items()
        for what, array in (
            ("examples", content.examples),
            ("labels", content.labels.astype(np.int32)),
            *((("ids", np.array(content.ids)),) if content.ids else ()),
        )
    }
    digest = disk.text_digest(*contents.features, *contents.class_names, *map(_of_array, arrays.values()))
    stored = _stored(
        root, f"{contents.name}-{digest[: disk.SHORT]}", digest, source=source, origin=origin, inputs=inputs
    ).model_copy(update={"features": contents.features, "class_names": contents.class_names, "notes": contents.notes})
    return stored.write(lambda incoming: write_arrays(incoming, arrays))


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, by name, as ``.npy`` files."""
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            # Given a real file, NumPy would not say why it cannot be written.
            np.save(SimpleNamespace(write=file.write), array)


def _of_array(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _stored(root: Path, name: str, digest: str, **of: Any) -> Stored:
    return Stored(folder=root / name, name=name, digest=digest, code=code(), obtained=datetime.now(UTC), **of)
