"""Download and split the data that the settings name (`download`, `preprocess`); skip unchanged data.

The data comes from this package, a mirror, an address, a folder, a file or scikit-learn. An intact copy of unchanged
data is kept: published data never changes; other data is unchanged if its files (by digest), the parameters and the
code are the same. ``splits.py`` decides which example is in which split.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline import disk
from pipeline.data import datasets, formats, stored
from pipeline.data.datasets import CATALOGUE, STEMS
from pipeline.data.splits import SPLITS, DataSet, hold_out
from pipeline.data.stored import Stored
from pipeline.errors import shown
from pipeline.kinds import known
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, is_address


def prepared(settings: DataSettings, reporter: Reporter) -> tuple[DataSet, dict[str, float]]:
    """Return the data that the settings name, and the seconds of each stage as metrics.

    Raises:
        DataError: it cannot be obtained, or cannot be split and learned.
        UsageError: ``columns`` or ``image_size`` does not fit the format of the data.
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
        UsageError: ``columns`` or ``image_size`` does not fit the format of the data.
    """
    inputs = {} if settings.published or is_address(settings.source) else digests_of(settings)
    wanted: dict[str, object] = (
        {"class_names": CATALOGUE[settings.dataset].class_names}
        if settings.published
        else {"code": stored.code(), "inputs": inputs}
    )
    with stored.locked(settings.data_dir / stored.RAW):
        found = stored.latest_raw(settings)
        raw = found if found and found.is_unchanged(**wanted) else _obtained(settings, inputs, reporter)
    if raw is found:
        reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
    else:
        reporter.note(f"Obtained {raw.name}{' again' if found else ''} from {raw.origin}; saved in {raw.folder}.")
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
    _, files = formats.recognise(settings)
    return {str(path.relative_to(source.parent)): disk.file_digest(path) for paths in files.values() for path in paths}


def _obtained(settings: DataSettings, inputs: dict[str, str], reporter: Reporter) -> Stored:
    """Return the raw data that the settings name, in a folder that replaces any old one of its name."""
    if settings.published:
        contents, origin = datasets.published(settings.dataset, reporter)
    elif is_address(settings.source):
        contents, origin = datasets.at_address(settings.source, reporter), shown(settings.source).rstrip("/") + "/"
    else:
        contents, origin = formats.read(settings), settings.key
    return Stored(
        folder=settings.data_dir / stored.RAW / contents.name,
        name=contents.name,
        digest=contents.digest,
        code=stored.code(),
        source=settings.request,
        origin=origin,
        inputs=inputs,
        obtained=datetime.now(UTC),
        features=contents.features,
        class_names=contents.class_names,
        notes=contents.notes,
    ).write(contents.parts, contents.files)


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
        reporter.note(
            f"Preprocessed {data.name}{' again' if found else ''} into {data.folder}: {counts} {data.kind.name}."
        )
    counted = np.array([np.bincount(getattr(data, split).labels, minlength=data.classes) for split in SPLITS])
    for split, missing in zip(SPLITS, (counted == 0) & counted.any(axis=0), strict=True):
        if missing.any():
            names = ", ".join(np.array(data.class_names)[missing])
            reporter.note(f"{data.name}: these classes have no {data.kind.name} in the {split} split: {names}.")
    return data


def _save(raw: Stored, folder: Path) -> Stored:
    """Split and store raw data."""
    import pandas as pd  # takes two fifths of the time of a command that finds unchanged data

    parts = raw.parts()
    if not parts:  # the raw data is four IDX files
        parts |= datasets.parts_of({stem: (stem, (raw.folder / stem).read_bytes()) for stem in STEMS})
    index = {name: np.arange(len(part.labels)) for name, part in parts.items()}
    if "validation" not in parts:
        parts["validation"] = parts["train"]
        first = CATALOGUE[raw.name].validation if raw.name in CATALOGUE else None
        index["train"], index["validation"] = hold_out(parts["train"].labels, first=first)
    made = {split: parts[split].take(index[split]) for split in SPLITS}
    tables = [
        pd.DataFrame(
            {"split": split, "index": index[split], "label": part.labels}
            | ({} if part.ids is None else {"id": part.ids})
        )
        for split, part in made.items()
    ]
    kind = known.of(made["train"].examples, raw.features)
    fields = {"folder": folder, "code": stored.code(), "kind": kind.name, "example": vars(kind)}
    return raw.model_copy(update=fields).write(made, {"examples.csv": pd.concat(tables).to_csv(index=False).encode()})
