"""Processed data that other code has made than the code that is here, and that this would make anew.

Only what the raw data is there for counts: from that it can be made again.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline import disk
from pipeline.data import folders, prepare, processed, raw_data
from pipeline.errors import DataError
from pipeline.progress import Reporter


def find(data_dir: Path) -> list[Path]:
    """Return the folders of processed data sets that newer code has superseded."""
    return sorted(_find(data_dir))


def _find(data_dir: Path) -> Iterator[Path]:
    for folder in processed.processed_folder(data_dir).glob("[!.]*"):
        code = processed.code_of(folder)
        if code is None or code == prepare.code_of_splitting():
            continue
        try:
            data = processed.load(folder)
        except DataError:
            continue
        if raw_data.holds(data_dir, data.name, data.digest):
            yield folder


def remove(folder: Path, data_dir: Path, reporter: Reporter) -> None:
    """Remove a processed data set, if it is still superseded; should that be cut off, it is there whole or not at all.

    Raises:
        DataError: the folder cannot be written to.
    """
    root = processed.processed_folder(data_dir)
    with folders.locked(root, reporter):
        if folder in find(data_dir):
            disk.remove_folder(folder)
