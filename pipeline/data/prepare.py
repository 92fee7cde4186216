"""Download and split the data that the settings name (`download`, `preprocess`); skip what is unchanged.

Unchanged means that the inputs (by digest), the parameters and the code are the
same, and the outputs are intact. The raw data is located and hashed once.
"""

import time
from typing import Any

from pipeline.data import processed, raw_data, sources
from pipeline.data.contents import Contents
from pipeline.data.splits import DataSet
from pipeline.data.stored import Stored, locked
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, is_address, shown


def prepared(settings: DataSettings, reporter: Reporter) -> tuple[DataSet, dict[str, float]]:
    """Return the data that the settings name, and the seconds of each stage as metrics.

    Raises:
        DataError: it cannot be obtained, or cannot be split and learned.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    started = time.perf_counter()
    raw = download(settings, reporter)
    obtained = time.perf_counter()
    data = processed.split(raw, settings.data_dir, reporter)
    return data, {
        "seconds_download": obtained - started,
        "seconds_preprocess": time.perf_counter() - obtained,
    }


def download(settings: DataSettings, reporter: Reporter) -> Stored:
    """Return the verified raw data that the settings name; it is obtained unless an intact, unchanged copy exists.

    Raises:
        DataError: neither the source nor a mirror has four complete IDX files.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    inputs = {}
    if not settings.published and not is_address(settings.source):
        inputs = sources.digests_of(settings)
    with locked(raw_data.raw_folder(settings.data_dir), reporter):
        raw = _intact(settings)
        if raw and raw.code == raw_data.code() and inputs in ({}, raw.inputs):
            reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
        else:
            raw = _obtained(settings, inputs, raw, reporter)
    for note in raw.notes:
        reporter.note(note)
    if not (settings.published or raw.class_names) and raw.name != settings.dataset:
        reporter.note(f"The data from {shown(settings.source)} is named {raw.name}, after its content.")
    return raw


def preprocess(settings: DataSettings, reporter: Reporter) -> DataSet:
    """Return the checked and split data set, in ``<data_dir>/processed/<name>-<digest8>/``; make it if necessary.

    Raises:
        DataError: the data is not downloaded yet, a raw file has changed since, or the files do not fit together.
    """
    raw = raw_data.locate(settings)
    raw.verify()
    return processed.split(raw, settings.data_dir, reporter)


def _intact(settings: DataSettings) -> Stored | None:
    """Return the existing raw data; None if there is none, or one of its files has changed."""
    try:
        raw = raw_data.locate(settings)
        raw.verify()
    except DataError:
        return None
    return raw


def _obtained(settings: DataSettings, inputs: dict[str, str], intact: Stored | None, reporter: Reporter) -> Stored:
    """Obtain, store and return the raw data; return the ``intact`` copy if all mirrors of a published set fail."""
    try:
        files, origin = sources.obtain(settings, reporter)
    except DataError:
        if intact is None or not settings.published:
            raise
        reporter.note(f"No mirror provided {intact.name}: the intact copy in {intact.folder} stays in use.")
        return intact
    root = raw_data.raw_folder(settings.data_dir)
    of: dict[str, Any] = {"source": settings.request, "origin": origin, "inputs": inputs}
    if isinstance(files, Contents):
        raw = raw_data.keep_contents(root, files, **of)
    else:
        raw = raw_data.keep(root, settings.dataset if settings.published else raw_data.recognise(files), files, **of)
    reporter.note(f"Obtained {raw.name} from {origin}, kept in {raw.folder}.")
    return raw
