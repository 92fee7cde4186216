"""The download stage: the four IDX files of a data set, verified, under ``<data_dir>/raw/<name>/``.

pipeline download --dataset mnist
pipeline download --source ~/my-images
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipeline import digests
from pipeline.data import catalogue, folders, raw_data, sources
from pipeline.data.catalogue import RawFile
from pipeline.data.raw_data import RawData
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import MIRRORS, DataSettings

Found = Mapping[str, tuple[str, bytes]]


def download(settings: DataSettings, reporter: Reporter) -> RawData:
    """Return the raw data that the settings name, obtained unless it is there, unchanged and intact.

    Raises:
        DataError: the source does not hold, or no mirror gave, four whole IDX files.
        UsageError: ``source`` is an address of neither http nor https.
    """
    key, root = sources.key_of(settings.source), raw_data.raw_folder(settings.data_dir)
    is_folder = key != MIRRORS and not sources.is_address(key)
    found: Found = sources.read_folder(Path(key)) if is_folder else {}
    inputs = {name: hashlib.sha256(received).hexdigest() for name, received in found.values()}
    code = digests.of_code("data/raw_data.py")
    with folders.locked(root, reporter):
        raw = _unchanged(settings, inputs, code, reporter)
        if raw is None:
            try:
                files, origin = _obtain(settings, key, found, reporter)
            except DataError:
                if key != MIRRORS or (kept := _kept_offline(settings, reporter)) is None:
                    raise
                return kept
            name = settings.dataset if key == MIRRORS else catalogue.recognise(files)
            raw = raw_data.keep(root, name, files, source=key, origin=origin, inputs=inputs, code=code)
            reporter.note(f"Obtained {raw.name} from {origin}, kept in {raw.folder}.")
    if raw.name != settings.dataset:
        reporter.note(f"What {settings.source} holds is not {settings.dataset}: it goes by the name of {raw.name}.")
    return raw


def _unchanged(settings: DataSettings, inputs: dict[str, str], code: str, reporter: Reporter) -> RawData | None:
    """Return the raw data that is there already, if the same inputs and code made it and it is intact."""
    try:
        raw = raw_data.locate(settings)
    except DataError:
        return None
    if raw.code != code or (inputs and raw.provenance.inputs != inputs):
        return None
    try:
        raw_data.verify(raw)
    except DataError as error:
        reporter.note(f"Obtaining {raw.name} again. {error}")
        return None
    reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
    return raw


def _obtain(settings: DataSettings, key: str, found: Found, reporter: Reporter) -> tuple[dict[str, RawFile], str]:
    """Return the four files by their stems, and where they come from."""
    if found:
        return {stem: catalogue.open_file(stem, str(Path(key, name)), got) for stem, (name, got) in found.items()}, key
    if key != MIRRORS:
        return sources.fetch_address(key, reporter), key
    if settings.dataset == catalogue.DIGITS:
        return sources.make_digits(), "scikit-learn"
    return sources.fetch_mirrors(settings.dataset, reporter)


def _kept_offline(settings: DataSettings, reporter: Reporter) -> RawData | None:
    """Return the published data that is there and intact: what serves when no mirror gives it."""
    try:
        raw = raw_data.locate(settings)
        raw_data.verify(raw)
    except DataError:
        return None
    reporter.note(f"No mirror gave {raw.name}: what is in {raw.folder} is intact and stays in use.")
    return raw
