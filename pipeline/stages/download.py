"""The download stage: the four IDX files of a data set, verified, under ``<data_dir>/raw/<name>/``.

pipeline download --dataset mnist
pipeline download --source ~/my-images
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipeline import datasets, digests
from pipeline.datasets import RawData, RawFile
from pipeline.errors import DataError
from pipeline.reporting import Reporter
from pipeline.settings import MIRRORS, DataSettings

Found = Mapping[str, tuple[str, bytes]]


def download(settings: DataSettings, reporter: Reporter) -> RawData:
    """Return the raw data that the settings name, obtained unless it is there, unchanged and intact.

    Raises:
        DataError: the source does not hold, or no mirror gave, four whole IDX files.
        UsageError: ``source`` is an address of neither http nor https.
    """
    key, root = datasets.key_of(settings.source), datasets.raw_folder(settings.data_dir)
    is_folder = key != MIRRORS and not datasets.is_address(key)
    found: Found = datasets.read_folder(Path(key)) if is_folder else {}
    inputs = {name: hashlib.sha256(received).hexdigest() for name, received in found.values()}
    code = digests.of_modules("idx.py", "datasets.py", "stages/download.py")
    with datasets.locked(root, reporter):
        raw = _unchanged(settings, inputs, code, reporter)
        if raw is None:
            files, origin = _obtain(settings, key, found, reporter)
            name = settings.dataset if key == MIRRORS else datasets.recognise(files)
            raw = datasets.keep(root, name, files, source=key, origin=origin, inputs=inputs, code=code)
            reporter.note(f"Obtained {raw.name} from {origin}, kept in {raw.folder}.")
    if raw.name != settings.dataset:
        reporter.note(f"What {settings.source} holds is not {settings.dataset}: it goes by the name of {raw.name}.")
    return raw


def _unchanged(settings: DataSettings, inputs: dict[str, str], code: str, reporter: Reporter) -> RawData | None:
    """Return the raw data that is there already, if the same inputs and code made it and it is intact."""
    try:
        raw = datasets.locate(settings)
    except DataError:
        return None
    if raw.code != code or (inputs and raw.provenance.inputs != inputs):
        return None
    try:
        datasets.verify(raw)
    except DataError as error:
        reporter.note(f"Obtaining {raw.name} again. {error}")
        return None
    reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
    return raw


def _obtain(settings: DataSettings, key: str, found: Found, reporter: Reporter) -> tuple[dict[str, RawFile], str]:
    """Return the four files by their stems, and where they come from."""
    if found:
        return {stem: datasets.open_file(stem, str(Path(key, name)), got) for stem, (name, got) in found.items()}, key
    if key != MIRRORS:
        return datasets.fetch_address(key, reporter), key
    if settings.dataset == datasets.DIGITS:
        return datasets.make_digits(), "scikit-learn"
    return datasets.fetch_mirrors(settings.dataset, reporter)
