"""What is done on a node of a cluster around a training: the data laid down in the node's own folder, the checks.

Nothing of the driver's disk is seen here. The code is the driver's, which travels with the job.
"""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline import custom_cells, disk
from pipeline.cells import is_custom
from pipeline.custom_cells import Source
from pipeline.data import processed, stored
from pipeline.errors import DataError, PipelineError, of_library, reason
from pipeline.execution import job as jobs
from pipeline.execution.job import Done, Job
from pipeline.execution.worker_pool import Send
from pipeline.progress import Reporter
from pipeline.startup import quieten
from pipeline.tracking import connection, store
from pipeline.training.remote_checkpoints import FOLDER

DATA_DIR = "PIPELINE_NODE_DATA_DIR"
"""The environment variable of a node with the folder that it keeps its data in."""

OF_NUMBERS = ("tensorflow", "keras", "mlflow", "numpy")
"""The packages whose versions must be the same on all nodes."""


def data_dir() -> Path:
    """Return this node's own folder of data."""
    given = os.environ.get(DATA_DIR)
    return Path(given) if given else Path.home() / ".cache" / "recurrent-mlflow-pipeline"


def versions() -> dict[str, str]:
    """Return what must be the same on all nodes."""
    found = {"Python": platform.python_version()}
    for package in OF_NUMBERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def refusal(run_id: str) -> str:
    """Write on a run as a training does, read that and remove it; return why that failed; nothing if it did not."""
    quieten()
    try:
        connection.connect()
        name = f"{FOLDER}-of-{os.getpid()}"
        with connection.environment(connection.BRIEF):
            store.write_file(run_id, f"{name}/probe", b"")
            list(store.read_files(run_id, name))
            store.remove_files(run_id, name)
    except Exception as error:
        failure = error if isinstance(error, PipelineError) else of_library(error)
        return str(failure or repr(error))
    return ""


def shortage(dataset: str, digest: str, size: int) -> str:
    """Return why this node has no room for processed data of so many bytes; nothing if it has, or has the data."""
    folder = data_dir()
    if processed.folder_of(folder, dataset, digest).is_dir():
        return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"{DATA_DIR}: expected a folder to write to, received {folder}: {reason(error)}."
    if free >= size:
        return ""
    return (
        f"{DATA_DIR}: expected room for {size / 1e6:,.1f} MB of data in {folder}, received {free / 1e6:,.1f} MB. Make "
        f"room there, or set {DATA_DIR} on the node to another folder."
    )


@dataclass(frozen=True, kw_only=True)
class Work:
    """Trains on a node; handed to the executor.

    Attributes:
        files: a reference to the files of the processed data, by their names; in a list: fetched only when needed.
        cells: the files of the cells of one's own, by the cells' names; more may come with later jobs.
    """

    files: list[Any]
    cells: dict[str, Source] = field(default_factory=dict)

    def noted(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield the jobs; the file of a cell of one's own travels with all that are handed out from then on."""
        for job in jobs:
            if is_custom(job.settings.cell):
                self.cells[job.settings.cell] = custom_cells.source(job.settings.cell)
            yield job

    def __call__(self, job: Job, send: Send) -> Done:
        """Do what is left to do of one training; see :func:`pipeline.execution.job.train`."""
        quieten()
        _bring(job, self.files)
        for cell, source in self.cells.items():
            _lay_down(cell, source)
        here = replace(job, settings=replace(job.settings, data_dir=data_dir()))
        return jobs.train(here, send, remote=True)


def _bring(job: Job, files: list[Any]) -> None:
    """Make sure that this node has the processed data, whole; what the object store brings is verified, too.

    Raises:
        DataError: there is no room for it.
    """
    target = processed.folder_of(data_dir(), job.dataset, job.digest)
    with stored.locked(processed.processed_folder(data_dir()), Reporter()):
        try:
            processed.find_by_digest(data_dir(), job.dataset, job.digest)
        except DataError:
            with disk.new_folder(target) as incoming:
                unpack(files, incoming)
            processed.find_by_digest(data_dir(), job.dataset, job.digest)


def unpack(files: list[Any], folder: Path) -> None:
    """Write into a folder what was packed: the names of files, below it, and their contents."""
    import ray

    contents: Mapping[str, bytes] = ray.get(files[0])
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _lay_down(cell: str, source: Source) -> None:
    """Let Python find the module of a cell where it is laid down, whatever of this name is installed here."""
    folder = data_dir() / "cells" / source.digest
    path = folder.joinpath(*cell.partition(":")[0].split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk.new_file(path) as incoming:
        incoming.write_bytes(source.content)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
