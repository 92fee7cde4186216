"""One run as a job of an executor: its input, its messages and its result, and its needs on another machine.

A node of a cluster does not see the disk of the machine where the command was typed: data and custom cells come with
the jobs.
"""

import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from pipeline import cells, disk
from pipeline.data import stored
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import DataError, TrainingError, UsageError, reason
from pipeline.execution.worker_pool import Send, Work
from pipeline.model import custom_cells
from pipeline.model.custom_cells import Source
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import evaluation, identity, resuming
from pipeline.training.checkpoints import LockedError, RunLocks
from pipeline.training.resuming import ExistingRun, RunState

PRUNED = "pruned"
"""The state of a run that a search ended early."""

DONE_HERE, DONE_ELSEWHERE = REUSED = ("finished before", "reused")
"""The states of a run that had already finished: in this comparison, or elsewhere."""

DATA_DIR = "PIPELINE_NODE_DATA_DIR"
"""The environment variable of a node with the folder for its data."""

PACKAGES = ("tensorflow", "keras", "mlflow", "numpy")
"""Packages whose versions have to be the same on all nodes."""

LOOKS = "looking for an earlier run"
"""The state of a job on a cluster before it opens a run; the answer is whether no other job trains the same."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to be trained by a process.

    Attributes:
        settings: its parameters.
        name: name of its run.
        parent: the id of the comparison's run.
        dataset: the name of the processed data.
        digest: digest of that data.
        fingerprint: fingerprint of the run, with the code at the time when the job was created.
        cores: number of cores that it may use.
        evaluate: whether its model is evaluated; for a trial of a search it is not.
        source: the file of its custom cell, for machines that do not have it.
        remote: whether it runs on a node of a cluster, where nothing is locked.
    """

    settings: Settings
    name: str
    parent: str
    dataset: str
    digest: str
    fingerprint: str
    cores: int
    evaluate: bool = True
    source: Source | None = None
    remote: bool = False

    @classmethod
    def of(
        cls, settings: Settings, data: DataSet, *, name: str, parent: str, cores: int, evaluate: bool = True
    ) -> Self:
        """Return the job for a run on a data set, with the present code."""
        return cls(
            settings=settings,
            name=name,
            parent=parent,
            dataset=data.name,
            digest=data.digest,
            fingerprint=identity.fingerprint(settings, data),
            cores=cores,
            evaluate=evaluate,
            source=custom_cells.source(settings.cell) if cells.is_custom(settings.cell) else None,
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The message that a job has opened a run, and whether it is new or resumed."""

    run_id: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """The result of a job.

    Attributes:
        run_id: id of its run.
        pruned: whether it was ended early, so that it has no model.
    """

    run_id: str
    pruned: bool = False


def train(job: Job, send: Send) -> Done:
    """Train and evaluate one run in a separate process; skip finished parts.

    Sends texts, which are states; :class:`Opened` once; then an :class:`EpochRecord` per epoch, and stops if the answer
    says so.

    Args:
        job: the job.
        send: sends a message to the process that created the job; returns its answer.

    Raises:
        TrainingError: the code has changed since the other jobs started.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)  # it is the comparison's run; the job has its own
    data_dir = job.settings.data_dir
    data = stored.find_by_digest(data_dir, job.dataset, job.digest)
    _check_code(job, data)
    find = partial(resuming.find_run, job.fingerprint, data_dir, remote=job.remote, evaluate=job.evaluate)
    if (existing := find()) is None or existing.state is RunState.INTERRUPTED:
        start_tensorflow(job.cores)  # it takes seconds, during which other processes should be able to look for runs
        importlib.import_module("pipeline.training.training")
    while job.remote and not send(LOOKS):
        time.sleep(1)
    with ExitStack() as stack:
        while True:
            with nullcontext() if job.remote else RunLocks(data_dir).exclusive(), suppress(LockedError):
                existing = find()
                if existing and _can_reuse(job, existing, send):
                    return _reused(job, existing.run, send)
                if existing is None or existing.state is not RunState.RUNNING:
                    resume = existing.run if existing and existing.state is RunState.INTERRUPTED else None
                    run = stack.enter_context(_open(job, data, resume))
                    break
            send("waiting for another process")
            time.sleep(1)
        return _finished(job, data, run, send, state="resumes" if resume else "trains")


def _check_code(job: Job, data: DataSet) -> None:
    """Check that this process has imported the same code as the process that created the job."""
    if identity.fingerprint(job.settings, data) != job.fingerprint:
        changed = f"the file of {job.settings.cell}, or this package," if job.source else "this package"
        raise TrainingError(
            f"code: must be the same for all runs, but {changed} has changed since the first one started. "
            "Repeat the command to train with the present code."
        )


def _can_reuse(job: Job, existing: ExistingRun, send: Send) -> bool:
    """Return whether an existing run makes this job unnecessary; a pruned one does if it would be pruned again."""
    if existing.state is RunState.PRUNED and not job.evaluate:
        rows = store.load_table(existing.run.run_id, schema.HISTORY).to_dict("records")
        return not all(send(EpochRecord(**{str(name): value for name, value in row.items()})) for row in rows)
    return existing.state is RunState.FINISHED


def _reused(job: Job, run: TrackedRun, send: Send) -> Done:
    """Return the result of an existing run."""
    send(Opened(run_id=run.run_id, state=DONE_HERE if store.belongs_to(run, job.parent) else DONE_ELSEWHERE))
    store.mark(run.run_id, job.parent)
    return Done(run_id=run.run_id, pruned=run.is_pruned)


def _open(job: Job, data: DataSet, resume: TrackedRun | None) -> AbstractContextManager[TrackedRun]:
    """Open a new run, or resume the interrupted one.

    Raises:
        LockedError: another process was faster.
    """
    start_tensorflow(job.cores)
    from pipeline.training import training

    return training.open_run(
        job.settings,
        data,
        name=job.name,
        parent=None if resume else job.parent,
        resume=resume,
        cores=job.cores,
        tested=job.evaluate,
        remote=job.remote,
    )


def _finished(job: Job, data: DataSet, run: TrackedRun, send: Send, *, state: str) -> Done:
    """Train and evaluate an open run; skip finished parts."""
    import keras

    from pipeline.training import training

    keras.backend.clear_session()  # removes the state of the previous run
    send(Opened(run_id=run.run_id, state=state))
    store.mark(run.run_id, job.parent)
    has_model = training.train(run, job.settings, data, Reporter(), should_continue=send)
    if job.evaluate and not run.is_evaluated:
        send("evaluates")
        evaluation.evaluate(run, data, Reporter())
    return Done(run_id=run.run_id, pruned=not has_model)


# --- on another machine ---------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def check_node(driver: Mapping[str, str], *, tracks: bool) -> None:
    """Check that this node has the driver's versions and, if the jobs write runs, can write them and keep data.

    Raises:
        DataError: it cannot write to its folder.
        TrackingError: runs cannot be written.
        UsageError: it has other versions.
    """
    here = versions()
    if different := [f"{name} {here[name]} (there {driver[name]})" for name in here if here[name] != driver[name]]:
        raise UsageError(
            f"on: each node must have the same versions as the machine where the command is typed; got "
            f"{', '.join(different)}. Install the same versions."
        )
    if tracks:
        connection.connect(writes=True)
        try:
            data_dir().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{DATA_DIR}: must be a folder that can be written to; got {data_dir()}: {reason(error)}. Set it on "
                "the node to another folder."
            ) from None


def data_dir() -> Path:
    """Return this node's folder for data."""
    return Path(os.environ.get(DATA_DIR) or Path.home() / ".cache" / "recurrent-mlflow-pipeline")


def work_with(copy_data: Callable[[Path], None], work: Work, job: Job, send: Send) -> Any:
    """Do the work of a job, with the data and the custom cell that it needs."""
    folder = stored.folder_of(data_dir(), job.dataset, job.digest)
    with stored.locked(folder.parent):
        try:
            stored.find_by_digest(data_dir(), job.dataset, job.digest)  # this also verifies it
        except DataError:
            with disk.new_folder(folder) as incoming:
                copy_data(incoming)
    _install_cell(job, data_dir() / "cells")
    return work(replace(job, settings=replace(job.settings, data_dir=data_dir()), remote=True), send)


def _install_cell(job: Job, folder: Path) -> None:
    """Write the file of a custom cell, if the job has one, where Python imports it before other modules of its name."""
    if job.source:
        own = folder / job.source.digest
        path = own.joinpath(*job.settings.cell.partition(":")[0].split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk.new_file(path) as incoming:
            incoming.write_bytes(job.source.content)
        sys.path.insert(0, str(own))
        importlib.invalidate_caches()
