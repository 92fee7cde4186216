"""The work of a cluster node around a run: check itself, get the data and custom cells.

The driver's disk is not seen here. The code is the driver's, which comes with the job.
"""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions
from pathlib import Path

from pipeline import custom_cells, disk
from pipeline.cells import is_custom
from pipeline.custom_cells import Source
from pipeline.data import processed, stored
from pipeline.errors import DataError, UsageError, reason
from pipeline.execution import job as jobs
from pipeline.execution.job import Done, Job
from pipeline.execution.worker_pool import Send
from pipeline.progress import Reporter
from pipeline.startup import quieten
from pipeline.tracking import connection

DATA_DIR = "PIPELINE_NODE_DATA_DIR"
"""The environment variable of a node with the folder for its data."""

PACKAGES = ("tensorflow", "keras", "mlflow", "numpy")
"""Packages whose versions have to be the same on all nodes."""


def data_dir() -> Path:
    """Return this node's folder for data."""
    given = os.environ.get(DATA_DIR)
    return Path(given) if given else Path.home() / ".cache" / "recurrent-mlflow-pipeline"


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    installed = {name: next((each.version for each in distributions(name=name)), "none") for name in PACKAGES}
    return {"Python": platform.python_version()} | installed


def check_versions(driver: Mapping[str, str]) -> None:
    """Check that this node has the versions of the machine where the command was typed.

    Raises:
        UsageError: it has others.
    """
    here = versions()
    if different := [f"{name} {here[name]} (there {driver[name]})" for name in here if here[name] != driver[name]]:
        raise UsageError(
            f"on: expected the versions of the machine where the command is typed, for the same numbers, received "
            f"{', '.join(different)}. Install the same."
        )


def check_training(dataset: str, digest: str, size: int) -> None:
    """Check that this node can write runs, and has the data or room for it.

    Args:
        dataset: the name of the data.
        digest: of the data.
        size: of the data, in bytes.

    Raises:
        DataError: there is no room.
        TrackingError: runs cannot be written.
    """
    quieten()
    connection.connect(writes=True)
    folder = data_dir()
    if processed.folder_of(folder, dataset, digest).is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DataError(f"{DATA_DIR}: expected a folder to write to, received {folder}: {reason(error)}.") from None
    if free < size:
        raise DataError(
            f"{DATA_DIR}: expected {size / 1e6:,.1f} MB of free space for the data in {folder}, received "
            f"{free / 1e6:,.1f} MB. Free some, or set {DATA_DIR} on the node to another folder."
        )


@dataclass(frozen=True)
class NodeWork:
    """Trains on a node.

    Attributes:
        copy_data: copies the files of the processed data into a folder.
        cells: the files of the custom cells so far, by the cells' names.
    """

    copy_data: Callable[[Path], None]
    cells: dict[str, Source] = field(default_factory=dict)

    def collect_cells(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield the jobs; each is sent with the files of the custom cells so far."""
        for job in jobs:
            if is_custom(job.settings.cell):
                self.cells[job.settings.cell] = custom_cells.source(job.settings.cell)
            yield job

    def __call__(self, job: Job, send: Send) -> Done:
        """Do what is left of one training; see :func:`pipeline.execution.job.train`."""
        quieten()
        self.get_data(job)
        for cell, source in self.cells.items():
            _install_cell(cell, source)
        here = replace(job, settings=replace(job.settings, data_dir=data_dir()))
        return jobs.train(here, send, remote=True)

    def get_data(self, job: Job) -> None:
        """Copy the processed data to this node, unless it is there; it is verified in either case."""
        with stored.locked(processed.processed_folder(data_dir()), Reporter()):
            try:
                processed.find_by_digest(data_dir(), job.dataset, job.digest)
            except DataError:
                with disk.new_folder(processed.folder_of(data_dir(), job.dataset, job.digest)) as incoming:
                    self.copy_data(incoming)


def unpack(content: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a folder, by their paths below it."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _install_cell(cell: str, source: Source) -> None:
    """Write the file of a custom cell where Python imports it, before any other module of its name."""
    folder = data_dir() / "cells" / source.digest
    path = folder.joinpath(*cell.partition(":")[0].split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk.new_file(path) as incoming:
        incoming.write_bytes(source.content)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
