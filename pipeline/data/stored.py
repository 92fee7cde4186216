"""Stored data: folders with a manifest, locked during changes; raw data, processed data, and how they are found again.

    <data_dir>/raw/<name>/                     four IDX files, not compressed, or the arrays of parts; manifest.json
    <data_dir>/processed/<name>-<digest8>/     the arrays of three parts, examples.csv (the split and the label of each
                                               example, its index in its part of the source, its id), manifest.json

The arrays of a part (train, validation or test) are

    <part>_images.npy       uint8 (N, H, W), 0–255; or …
    <part>_sequences.npy    float32 (N, T, F), NaN after the end of each; in raw data <part>_examples.npy for either
    <part>_labels.npy       (N,), from 0
    <part>_ids.npy          (N,), where the source names its examples
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline import disk
from pipeline.data.splits import SPLITS, DataSet, Split
from pipeline.errors import DataError, reason
from pipeline.kinds import known
from pipeline.settings import DataSettings

MANIFEST, RAW, PROCESSED = "manifest.json", "raw", "processed"


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
        class_names: one per label from 0.
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
    kind: str = "examples"
    features: tuple[str, ...] = ()
    example: dict[str, Any] = {}
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    files: dict[str, str] = {}

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the data in a folder, intact or not; None if it has no manifest of this pipeline."""
        try:
            return cls.model_validate(json.loads((folder / MANIFEST).read_bytes()) | {"folder": folder})
        except (OSError, TypeError, ValueError):
            return None

    @classmethod
    def all_in(cls, root: Path) -> list[Self]:
        """Return the data in the folders of a folder, intact or not."""
        return [stored for folder in sorted(root.glob("[!.]*")) if (stored := cls.read(folder))]

    def write(self, parts: Mapping[str, Split], files: Mapping[str, bytes]) -> Self:
        """Write the arrays of parts, and files by name, into a new folder, which replaces the old one.

        Returns:
            This record with the digests of all files.

        Raises:
            OSError: the folder cannot be written.
        """
        arrays = {
            f"{part}_{what}.npy": array
            for part, split in parts.items()
            for what, array in ((self.kind, split.examples), ("labels", split.labels), ("ids", split.ids))
            if array is not None
        }
        with disk.new_folder(self.folder) as incoming:
            for name, array in arrays.items():
                np.save(incoming / name, array)
            for name, content in files.items():
                (incoming / name).write_bytes(content)
            written = self.model_copy(
                update={"files": {path.name: disk.file_digest(path) for path in sorted(incoming.iterdir())}}
            )
            (incoming / MANIFEST).write_text(written.model_dump_json(indent=2))
        return written

    def parts(self) -> dict[str, Split]:
        """Return the parts whose arrays are in the folder, memory-mapped."""
        arrays = {name: np.load(self.folder / name, "r") for name in self.files if name.endswith(".npy")}
        return {
            part: Split(
                examples=arrays[f"{part}_{self.kind}.npy"],
                labels=arrays[f"{part}_labels.npy"],
                ids=arrays.get(f"{part}_ids.npy"),
            )
            for part in SPLITS
            if f"{part}_labels.npy" in arrays
        }

    def changed(self) -> Path | None:
        """Return a file that is missing or has changed since it was written, if there is one."""
        paths = {self.folder / name: digest for name, digest in self.files.items()}
        return next(
            (path for path, each in paths.items() if not path.is_file() or disk.file_digest(path) != each), None
        )

    def verify(self) -> None:
        """Check that no file has changed since it was written.

        Raises:
            DataError: a file is missing or has changed.
        """
        if path := self.changed():
            raise DataError(
                f"{path}: must exist and have the digest {self.files[path.name]}, but was changed or removed. "
                f"Run `pipeline {'preprocess' if self.example else 'download'}` again, with the same dataset and "
                "source."
            )

    def is_unchanged(self, **expected: object) -> bool:
        """Return whether fields have the expected values, and all files are as they were written."""
        return all(getattr(self, name) == value for name, value in expected.items()) and not self.changed()


def code() -> str:
    """Return the digest of the code that decides the content of folders."""
    return disk.code_digest("data/[!_]*.py", "kinds/[!_]*.py")


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Make the folder ``root`` and hold its lock; remove the remains of killed processes in it.

    Raises:
        DataError: the folder cannot be made or written to, here or in the block.
    """
    with writable(root), FileLock(root / ".lock"):
        disk.sweep(root)
        yield


@contextmanager
def writable(root: Path) -> Iterator[None]:
    """Make the folder ``root``, below the folder for data, for a block that writes in it.

    Raises:
        DataError: the folder cannot be made or written to, here or in the block.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"data_dir: must be a folder that can be written to; {root}: {reason(error)}. "
            "Free some space or change the permissions, or use another data_dir."
        ) from None


# --- raw data -------------------------------------------------------------------------------------------------------


def latest_raw(settings: DataSettings) -> Stored | None:
    """Return the raw data of a published data set, or the latest data from ``source``; intact or not."""
    wanted = ("name", settings.dataset) if settings.published else ("source", settings.request)
    found = [stored for stored in Stored.all_in(settings.data_dir / RAW) if getattr(stored, wanted[0]) == wanted[1]]
    return max(found, key=lambda stored: stored.obtained, default=None)


def raw(settings: DataSettings) -> Stored:
    """Return the raw data that the settings name, intact or not.

    Raises:
        DataError: it has not been downloaded yet.
    """
    if found := latest_raw(settings):
        return found
    what = settings.dataset if settings.published else f"data from {settings.request}"
    raise DataError(
        f"data_dir: must have {what} in {settings.data_dir / RAW}. First run `{settings.command('download')}`."
    )


# --- processed data -------------------------------------------------------------------------------------------------


def folder_of(data_dir: Path, name: str, digest: str) -> Path:
    """Return the folder of a processed data set, whether it exists or not.

    Raises:
        DataError: the name or the digest, which may come from a server, is not one that this pipeline writes.
    """
    if not re.fullmatch(r"[\w-]{1,69}", name) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise DataError(
            "dataset: must be a name of letters, digits, _ and -, with a digest of 64 hexadecimal digits; "
            f"got {name!r} and {digest!r}. They come from a store or a file of another program."
        )
    return data_dir / PROCESSED / f"{name}-{digest[: disk.SHORT]}"


def find(settings: DataSettings) -> DataSet:
    """Return the processed data set that the settings name, after a check that it is intact.

    Raises:
        DataError: it has not been downloaded or preprocessed yet, or one of its files has changed.
    """
    found = raw(settings)
    return find_by_digest(settings.data_dir, found.name, found.digest, settings.command("preprocess"))


def find_by_digest(data_dir: Path, name: str, digest: str, command: str = "pipeline preprocess") -> DataSet:
    """Return the processed data set of that name and full digest, after a check that it is intact.

    Raises:
        DataError: it does not exist, and ``command`` makes it; or one of its files has changed.
    """
    folder = folder_of(data_dir, name, digest)
    found = Stored.read(folder)
    if found is None or found.digest != digest:
        raise DataError(
            f"data_dir: must have the processed data set {name} (digest {digest}) in {folder}. First run `{command}`."
        )
    found.verify()
    return load(found)


def load(processed: Stored) -> DataSet:
    """Return a processed data set, its arrays memory-mapped."""
    return DataSet(
        name=processed.name,
        digest=processed.digest,
        source=processed.origin,
        kind=known.restored(processed.kind, processed.example),
        class_names=processed.class_names,
        folder=processed.folder,
        **processed.parts(),
    )


def superseded(data_dir: Path) -> list[Path]:
    """Return the folders of processed data that other code made and that raw data can replace."""
    digests = {each.digest for each in Stored.all_in(data_dir / RAW)}
    return [
        each.folder for each in Stored.all_in(data_dir / PROCESSED) if each.code != code() and each.digest in digests
    ]
