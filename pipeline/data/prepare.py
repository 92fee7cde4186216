"""Download and split the data that the settings name (`download`, `preprocess`); skip unchanged data.

The data comes from this package, mirrors, an address, a folder, a file or scikit-learn. An intact copy of unchanged
data is kept: published data never changes; other data is unchanged if its files (by digest), the parameters and the
code are the same. ``splits.py`` decides which example is in which split.
"""

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data import datasets, formats, idx, splits, stored
from pipeline.data.contents import Contents
from pipeline.data.datasets import CATALOGUE, STEMS
from pipeline.data.splits import SPLITS, DataSet, Split
from pipeline.data.stored import Stored
from pipeline.errors import shown
from pipeline.kinds import known
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, is_address


def prepared(settings: DataSettings, reporter: Reporter) -> tuple[DataSet, dict[str, float]]:
    """Return the data that the settings name, and the seconds of each stage as metrics.

    Raises:
        DataError: it cannot be obtained, or cannot be split and learned.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    started = time.perf_counter()
    raw = download(settings, reporter)
    obtained = time.perf_counter()
    data = _split(raw, settings.data_dir, reporter)
    return data, {"seconds_download": obtained - started, "seconds_preprocess": time.perf_counter() - obtained}


def preprocess(settings: DataSettings, reporter: Reporter) -> DataSet:
    """Return the checked and split data set, in ``<data_dir>/processed/<name>-<digest8>/``; make it if necessary.

    Raises:
        DataError: the data is not downloaded yet, or a raw file has changed since.
    """
    raw = stored.raw(settings)
    raw.verify()
    return _split(raw, settings.data_dir, reporter)


# --- download -------------------------------------------------------------------------------------------------------


def download(settings: DataSettings, reporter: Reporter) -> Stored:
    """Return the verified raw data that the settings name; it is obtained unless an intact, unchanged copy exists.

    Raises:
        DataError: the data is not at its source, is damaged, or is unfit for training.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    inputs = {} if settings.published or is_address(settings.source) else digests_of(settings)
    wanted: dict[str, object] = (
        {"class_names": CATALOGUE[settings.dataset].class_names}
        if settings.published
        else {"code": stored.code(), "inputs": inputs}
    )
    with stored.locked(settings.data_dir / stored.RAW):
        raw = stored.latest_raw(settings)
        if raw and raw.is_unchanged(**wanted):
            reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
        else:
            contents, origin = _obtained(settings, reporter)
            again = " again" if raw else ""
            raw = _keep(settings, contents, origin=origin, inputs=inputs)
            reporter.note(f"Obtained {raw.name}{again} from {origin}; saved in {raw.folder}.")
    for note in raw.notes:
        reporter.note(note)
    return raw


def digests_of(settings: DataSettings) -> dict[str, str]:
    """Return the digest of each file that is read from a folder or file, by its name.

    Raises:
        DataError: the source or one of its files is missing.
        OSError: one cannot be read.
    """
    source = Path(settings.key)
    _, files = formats.recognise(source, _chosen(settings))
    return {str(path.relative_to(source.parent)): disk.file_digest(path) for paths in files.values() for path in paths}


def _obtained(settings: DataSettings, reporter: Reporter) -> tuple[Contents, str]:
    """Return the data that the settings name, and where it comes from."""
    if settings.published:
        return datasets.published(settings.dataset, reporter)
    if is_address(settings.source):
        return datasets.at_address(settings.source, reporter), shown(settings.source).rstrip("/") + "/"
    columns, image_size = settings.columns or None, settings.image_size or None
    source = Path(settings.key)
    return formats.read(source, dataset=_chosen(settings), columns=columns, image_size=image_size), settings.key


def _chosen(settings: DataSettings) -> str | None:
    """Return the name of the data set if it was given, else None."""
    return None if settings.dataset == DataSettings.dataset else settings.dataset


def _keep(settings: DataSettings, contents: Contents, *, origin: str, inputs: dict[str, str]) -> Stored:
    """Write data to a raw folder, which replaces any old one of this name."""
    if contents.files:
        digest = disk.text_digest(*map(_digest, contents.files.values()))
    else:
        arrays = [array for split in contents.parts.values() for array in vars(split).values()]
        digest = disk.text_digest(*contents.features, *contents.class_names, *map(_digest, arrays))
    is_published = bool(contents.files) and contents.name in CATALOGUE
    name = contents.name if is_published else f"{contents.name}-{digest[: disk.SHORT]}"
    return Stored(
        folder=settings.data_dir / stored.RAW / name,
        name=name,
        digest=digest,
        code=stored.code(),
        source=settings.request,
        origin=origin,
        inputs=inputs,
        obtained=datetime.now(UTC),
        features=contents.features,
        class_names=contents.class_names,
        notes=contents.notes,
    ).write({} if contents.files else contents.parts, contents.files)


def _digest(content: bytes | NDArray[Any]) -> str:
    """Return the digest of a file's content, or of an array's type, shape and values."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(f"{content.dtype.str} {content.shape} ".encode())
    digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


# --- preprocess -----------------------------------------------------------------------------------------------------


def _split(raw: Stored, data_dir: Path, reporter: Reporter) -> DataSet:
    """Return verified raw data in three splits, which are made unless an intact, unchanged copy exists."""
    folder = stored.folder_of(data_dir, raw.name, raw.digest)
    with stored.locked(folder.parent):
        found = Stored.read(folder)
        unchanged = found and found.is_unchanged(digest=raw.digest, origin=raw.origin, code=stored.code())
        data = stored.load(found if found and unchanged else _save(raw, folder))
    if unchanged:
        reporter.note(f"Skipped preprocess: {data.name} in {data.folder} is unchanged and intact.")
    else:
        counts = ", ".join(f"{len(getattr(data, split).labels):,} {split}" for split in SPLITS)
        again = " again" if found else ""
        reporter.note(f"Preprocessed {data.name}{again} into {data.folder}: {counts} {data.kind.name}.")
    for remark in _remarks(data):
        reporter.note(remark)
    return data


def _save(raw: Stored, folder: Path) -> Stored:
    """Split and store raw data."""
    import pandas as pd

    parts, published = _parts(raw), CATALOGUE.get(raw.name)
    index = {name: np.arange(len(part.labels)) for name, part in parts.items()}
    if "validation" not in parts:
        parts["validation"] = parts["train"]
        first = published.validation if published else None
        index["train"], index["validation"] = splits.hold_out(parts["train"].labels, first=first)
    made = {split: parts[split].take(index[split]) for split in SPLITS}
    tables = [
        pd.DataFrame(
            {"split": split, "index": index[split], "label": part.labels}
            | ({} if part.ids is None else {"id": part.ids})
        )
        for split, part in made.items()
    ]
    kind = known.of(made["train"].examples, raw.features)
    fields = {"folder": folder, "code": stored.code(), "kind": kind.name, "example": kind.description()}
    return raw.model_copy(update=fields).write(made, {"examples.csv": pd.concat(tables).to_csv(index=False).encode()})


def _parts(raw: Stored) -> dict[str, Split]:
    """Return the parts of raw data."""
    if raw.files.keys() != set(STEMS):
        return raw.parts()
    arrays = [idx.read((raw.folder / stem).read_bytes(), name=stem) for stem in STEMS]
    return {"train": Split(examples=arrays[0], labels=arrays[1]), "test": Split(examples=arrays[2], labels=arrays[3])}


def _remarks(data: DataSet) -> list[str]:
    """Return a sentence for each way in which some classes are too small to be learned or evaluated."""
    train, validation, test = (np.bincount(getattr(data, split).labels, minlength=data.classes) for split in SPLITS)
    several, one, many = train + validation > 1, data.kind.one, data.kind.name
    cases = {
        f"no training {one}, so their test {many} will be classified wrongly": (train + validation == 0) & (test > 0),
        f"no {one} to train on: all are held out for validation": (train == 0) & (validation > 0),
        f"a single {one}, which is trained on and not held out for validation": (train == 1) & ~several,
        f"no validation {one}": (validation == 0) & several,
        f"no test {one}": (test == 0) & (train + validation > 0),
    }
    named = {what: ", ".join(np.array(data.class_names)[chosen]) for what, chosen in cases.items() if chosen.any()}
    return [f"{data.name}: these classes have {what}: {names}." for what, names in named.items()]
