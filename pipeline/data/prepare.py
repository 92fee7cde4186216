"""What the settings name, obtained and split: done where it is needed, skipped where all is as it was.

Work is skipped when its inputs (by digest), parameters and code are unchanged
and its outputs intact. The raw data is located and hashed once.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline import digests
from pipeline.data import datasets, folders, processed, raw_data, sources
from pipeline.data.datasets import RawFile
from pipeline.data.raw_data import RawData
from pipeline.data.splits import SPLITS, DataSet, labels_without_training
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, is_address, shown

OF_THIS_PACKAGE = "the {name} files of this package"
"""Where a published data set comes from that is not fetched: no path of the machine that it was taken on."""


def prepared(settings: DataSettings, reporter: Reporter) -> tuple[DataSet, dict[str, float]]:
    """Return the data that the settings name, obtained and split, and the seconds that each took, as metrics.

    Raises:
        DataError: it cannot be had, or does not make up a data set that can be split and learned.
        UsageError: ``source`` is an address of neither http nor https.
    """
    started = time.perf_counter()
    raw = obtain(settings, reporter)
    obtained = time.perf_counter()
    data = split(raw, settings.data_dir, reporter)
    return data, {
        "seconds_download": obtained - started,
        "seconds_preprocess": time.perf_counter() - obtained,
    }


# --- obtained -------------------------------------------------------------------------------------------------------


def obtain(settings: DataSettings, reporter: Reporter) -> RawData:
    """Return the raw data that the settings name, verified: obtained unless it is there, unchanged and intact.

    Raises:
        DataError: the source does not hold, or no mirror gave, four whole IDX files.
        UsageError: ``source`` is an address of neither http nor https.
    """
    root, is_folder = raw_data.raw_folder(settings.data_dir), not (settings.published or is_address(settings.source))
    inputs = sources.digests_in(Path(settings.key)) if is_folder else {}
    with folders.locked(root, reporter):
        raw = _unchanged(settings, inputs, reporter) or _obtained(settings, inputs, reporter)
    if raw.name != settings.dataset:
        reporter.note(
            f"What {shown(settings.source)} holds is not {settings.dataset}: it goes by the name of {raw.name}."
        )
    return raw


def _unchanged(settings: DataSettings, inputs: dict[str, str], reporter: Reporter) -> RawData | None:
    """Return the raw data that is there already, if the same inputs and code made it and it is intact."""
    try:
        raw = raw_data.locate(settings)
    except DataError:
        return None
    if raw.code != _code_of_obtaining() or (inputs and raw.provenance.inputs != inputs):
        return None
    try:
        raw_data.verify(raw)
    except DataError as error:
        reporter.note(f"Obtaining {raw.name} again. {error}")
        return None
    reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
    return raw


def _obtained(settings: DataSettings, inputs: dict[str, str], reporter: Reporter) -> RawData:
    """Return the raw data, obtained and kept; or what is kept, where no mirror gives it any more."""
    try:
        files, origin = _files(settings, inputs, reporter)
    except DataError:
        if not settings.published or (kept := _kept_offline(settings, reporter)) is None:
            raise
        return kept
    raw = raw_data.keep(
        raw_data.raw_folder(settings.data_dir),
        settings.dataset if settings.published else datasets.recognise(files),
        files,
        source=settings.key,
        origin=origin,
        inputs=inputs,
        code=_code_of_obtaining(),
    )
    reporter.note(f"Obtained {raw.name} from {origin}, kept in {raw.folder}.")
    return raw


def _files(settings: DataSettings, inputs: dict[str, str], reporter: Reporter) -> tuple[Mapping[str, RawFile], str]:
    """Return the four files by their stems, and where they come from."""
    name, key = settings.dataset, settings.key
    if inputs:
        return sources.read_folder(Path(key), inputs), key
    if not settings.published:
        return sources.fetch_address(settings.source, reporter), shown(settings.source).rstrip("/") + "/"
    if name == datasets.DIGITS:
        return sources.make_digits(), "scikit-learn"
    if files := sources.read_package(name, reporter):
        return files, OF_THIS_PACKAGE.format(name=name)
    return sources.fetch_mirrors(name, reporter)


def _kept_offline(settings: DataSettings, reporter: Reporter) -> RawData | None:
    """Return the published data that is there and intact: what serves when no mirror gives it."""
    try:
        raw = raw_data.locate(settings)
        raw_data.verify(raw)
    except DataError:
        return None
    reporter.note(f"No mirror gave {raw.name}: what is in {raw.folder} is intact and stays in use.")
    return raw


def _code_of_obtaining() -> str:
    return digests.of_code("data/raw_data.py")


# --- split ----------------------------------------------------------------------------------------------------------


def split(raw: RawData, data_dir: Path, reporter: Reporter) -> DataSet:
    """Return raw data in three splits: made unless they are there, unchanged and intact.

    Args:
        raw: verified, as :func:`obtain` gives it.
        data_dir: holds the processed data sets, in ``processed``.
        reporter: told whether it was made.

    Raises:
        DataError: the files do not make up a data set that can be split and learned.
    """
    code = code_of_splitting()
    with folders.locked(processed.processed_folder(data_dir), reporter):
        dataset = _intact(raw, data_dir, code, reporter) or _split_anew(raw, data_dir, code, reporter)
    if unknown := labels_without_training(dataset):
        reporter.note(
            f"No training image of {dataset.name} has the label {', '.join(map(str, unknown))} of some test images: "
            "they will be answered wrongly."
        )
    # The same content may have been obtained from somewhere else before.
    return replace(dataset, source=raw.provenance.origin)


def code_of_splitting() -> str:
    """Return the digest of the code that makes a processed data set."""
    return digests.of_code("data/processed.py")


def _intact(raw: RawData, data_dir: Path, code: str, reporter: Reporter) -> DataSet | None:
    """Return the data set that is there already, if the same code made it and its files are what they were."""
    if processed.code_of(processed.folder_of(data_dir, raw.name, raw.digest)) != code:
        return None
    try:
        dataset = processed.find_by_digest(data_dir, raw.name, raw.digest)
    except DataError as error:
        reporter.note(f"Preprocessing again. {error}")
        return None
    reporter.note(f"Skipped preprocess: {dataset.name} in {dataset.folder} is unchanged and intact.")
    return dataset


def _split_anew(raw: RawData, data_dir: Path, code: str, reporter: Reporter) -> DataSet:
    dataset = processed.save(raw, data_dir=data_dir, code=code)
    counts = ", ".join(f"{len(getattr(dataset, split).labels):,} {split}" for split in SPLITS)
    reporter.note(f"Preprocessed {dataset.name} into {dataset.folder}: {counts} images.")
    return dataset
