"""The work of a Ray node around a job: check itself, get the data and custom cells, exchange messages.

The driver's disk is not seen on a node. The code is the driver's, which comes with the job.
"""

import importlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import ray

from pipeline import disk
from pipeline.data import processed, stored
from pipeline.errors import DataError, UsageError, reason
from pipeline.execution import worker_pool
from pipeline.execution.job import Job
from pipeline.execution.worker_pool import Event, Failed, FileRef, Message, Scheduled, Send, Work
from pipeline.model.custom_cells import Source
from pipeline.progress import Reporter
from pipeline.startup import quieten
from pipeline.tracking import connection

DATA_DIR = "PIPELINE_NODE_DATA_DIR"
"""The environment variable of a node with the folder for its data."""

PACKAGES = ("tensorflow", "keras", "mlflow", "numpy")
"""Packages whose versions have to be the same on all nodes."""


# --- checks before anything is trained ------------------------------------------------------------------------------


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


# --- a training -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RemoteFile(FileRef):
    """A file or folder of the driver's machine, for a process on a node; ``path`` is its path in a copy.

    Attributes:
        content: a reference to the object store; in a list, so that Ray does not fetch it for every task.
    """

    content: list[Any] = field(default_factory=list, hash=False)
    is_remote = True

    def copy_to(self, folder: Path) -> None:
        """Write the file, or the files of the folder, into another folder."""
        for name, content in ray.get(self.content[0]).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Give a temporary copy; a file has its name there."""
        with TemporaryDirectory() as folder:
            self.copy_to(Path(folder))
            yield Path(folder) / self.path


def data_dir() -> Path:
    """Return this node's folder for data."""
    given = os.environ.get(DATA_DIR)
    return Path(given) if given else Path.home() / ".cache" / "recurrent-mlflow-pipeline"


def work_with(data: RemoteFile, work: Work, job: Job, send: Send) -> Any:
    """Do work on a training, with the data and the custom cell that it needs."""
    quieten()
    folder = processed.folder_of(data_dir(), job.dataset, job.digest)
    with stored.locked(processed.processed_folder(data_dir()), Reporter()):
        try:
            processed.find_by_digest(data_dir(), job.dataset, job.digest)  # it is verified, too
        except DataError:
            with disk.new_folder(folder) as incoming:
                data.copy_to(incoming)
    if job.source:
        _install_cell(job.settings.cell, job.source)
    return work(replace(job, settings=replace(job.settings, data_dir=data_dir()), remote=True), send)


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


# --- the process that works on jobs ---------------------------------------------------------------------------------


class Node:
    """A process on a node that works on a job in one thread and hands over its messages in another; an actor.

    After each message the job waits for the answer of the driver: if the node was given up, but is alive, nothing more
    is logged.
    """

    def __init__(self) -> None:
        self._messages: SimpleQueue[tuple[type[Event], Any]] = SimpleQueue()
        self._answers: SimpleQueue[bool | None] = SimpleQueue()
        self._lock, self._taken = Lock(), 0
        self._last: tuple[type[Event], Any] = Failed, ""

    def work(self, work: Work, job: Any) -> None:
        """Work on a job."""
        self._messages.put((Scheduled, (ray.get_runtime_context().get_node_id(), socket.gethostname())))
        try:
            self._messages.put(worker_pool.outcome(work, job, self._send))
        except KeyboardInterrupt:
            self._messages.put((Failed, "Stopped."))

    def _send(self, message: Any) -> bool:
        self._messages.put((Message, message))
        if (answer := self._answers.get()) is None:
            raise KeyboardInterrupt
        return answer

    def take(self, number: int) -> tuple[type[Event], Any]:
        """Return the message of a number, from 1, when there is one; the last one may be asked for again."""
        with self._lock:
            if number > self._taken:
                self._last, self._taken = self._messages.get(), number
            return self._last

    def answer(self, answer: bool | None) -> None:
        """Answer a message: whether the job should continue; None interrupts it."""
        self._answers.put(answer)
