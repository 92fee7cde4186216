"""The raw folder of a data set: its four IDX files, plain, with a manifest of what they are and whence.

    <data_dir>/raw/<name>/      the four files and manifest.json

Such a folder gets its name only when everything in it is verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from pipeline import digests, disk
from pipeline.data import idx
from pipeline.data.datasets import STEMS, RawFile, digest_of, is_name
from pipeline.data.folders import check_files
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.settings import DataSettings

MANIFEST = "manifest.json"


class Provenance(BaseModel):
    """Where the content of a raw folder was obtained from, once.

    Args:
        source: the ``source`` that was asked for, as the key of the settings writes it.
        origin: who gave it: a mirror's or another address, a folder, or ``scikit-learn``.
        inputs: for a folder, the digests of the files in it as they were found.
        obtained: when.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    origin: str
    inputs: dict[str, str]
    obtained: AwareDatetime


class _Manifest(BaseModel):
    """What ``manifest.json`` of a raw folder holds. ``files``: digests of the content, by stem."""

    name: str
    digest: str
    code: str
    files: dict[str, str]
    provenances: list[Provenance]


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A raw folder: four plain IDX files that are kept under the name of their data set.

    Args:
        name: of a published data set, or ``custom-<digest8>``.
        digest: of the data set (:func:`digest_of`).
        folder: holds the files, under their stems.
        files: the digest of each, by stem.
        code: digest of the code that kept them.
        provenance: where they were obtained from, by the source that was asked for.
    """

    name: str
    digest: str
    folder: Path
    files: Mapping[str, str]
    code: str
    provenance: Provenance


def raw_folder(data_dir: Path) -> Path:
    """Return the folder that holds all raw folders."""
    return data_dir / "raw"


def locate(settings: "DataSettings") -> RawData:
    """Return the raw data of a data set: by its name, or what was last obtained from the ``source`` given.

    Whether the files are as they were is another question: see :func:`verify`.

    Raises:
        DataError: there is none yet.
    """
    key, root = settings.key, raw_folder(settings.data_dir)
    folders = [root / settings.dataset] if settings.published else _folders(root)
    kept = [raw for folder in folders for raw in _read(folder) if settings.published or raw.provenance.source == key]
    if not kept:
        what = settings.dataset if settings.published else f"data from {key}"
        raise DataError(f"data_dir: expected {what} in {root}, found none. First run `{settings.command('download')}`.")
    return max(kept, key=lambda raw: raw.provenance.obtained)


def holds(data_dir: Path, name: str, digest: str) -> bool:
    """Return whether the raw data of that name and digest is there, intact or not."""
    return any(raw.digest == digest for raw in _read(raw_folder(data_dir) / name))


def verify(raw: RawData) -> None:
    """Check that the files of a raw folder are what they were when they were kept.

    Raises:
        DataError: one is missing, or has changed; names it.
    """
    check_files(raw.folder, raw.files, remedy="Run `pipeline download` again, with the same dataset and source.")


def read_arrays(raw: RawData) -> list[npt.NDArray[np.uint8]]:
    """Return what the four files hold, in the order of :data:`STEMS`: images (N, H, W) and labels (N,), twice.

    Raises:
        DataError: a file is missing, or not what it was when it was kept.
    """
    verify(raw)
    return [idx.read((raw.folder / stem).read_bytes(), name=str(raw.folder / stem)) for stem in STEMS]


def keep(
    root: Path, name: str, files: Mapping[str, RawFile], *, source: str, origin: str, inputs: dict[str, str], code: str
) -> RawData:
    """Write the four files (by stem) under ``root/name``; whatever was there gives way once they are complete.

    The other arguments are recorded; see :class:`Provenance` and :class:`RawData`.
    """
    folder, digest = root / name, digest_of(files)
    provenance = Provenance(source=source, origin=origin, inputs=inputs, obtained=datetime.now(UTC))
    others = [raw.provenance for raw in _read(folder) if raw.digest == digest and raw.provenance.source != source]
    manifest = _Manifest(
        name=name,
        digest=digest,
        code=code,
        files={stem: file.sha256 for stem, file in files.items()},
        provenances=[*others, provenance],
    )
    with disk.new_folder(folder) as incoming:
        for stem, file in files.items():
            (incoming / stem).write_bytes(file.content)
        (incoming / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return _read(folder)[-1]


def _folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"[!.]*/{MANIFEST}"))


def _is_ours(manifest: _Manifest, folder: Path) -> bool:
    """Return whether a manifest says what :func:`keep` would have written in this folder: paths are made of it."""
    if not is_name(manifest.name) or manifest.name != folder.name or set(manifest.files) != set(STEMS):
        return False
    return manifest.digest == digests.of_texts(*(manifest.files[stem] for stem in STEMS))


def _read(folder: Path) -> list[RawData]:
    """Return what a raw folder holds, once for each provenance; nothing where it has no manifest of ours."""
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return []
    if not _is_ours(manifest, folder):
        return []
    return [
        RawData(
            name=manifest.name,
            digest=manifest.digest,
            folder=folder,
            files=manifest.files,
            code=manifest.code,
            provenance=provenance,
        )
        for provenance in manifest.provenances
    ]
