"""Runs as jobs of an executor: one job, its messages and its needs on another machine; many jobs and their progress.

A node of a cluster does not see the disk of the machine where the command was typed: data and custom cells come with
the jobs.
"""

import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from pipeline.execution.worker_pool import (
    Event,
    Executor,
    Failed,
    Finished,
    Message,
    Rescheduled,
    Send,
    Started,
    Take,
    Tick,
    Work,
)
from pipeline.model import custom_cells
from pipeline.model.custom_cells import Source
from pipeline.progress import Progress, Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import checkpoints, evaluation, identity, resuming
from pipeline.training.checkpoints import LockedError
from pipeline.training.resuming import RunState

PRUNED = "pruned"
"""The state of a run that a search ended early."""

DONE_HERE, DONE_ELSEWHERE = REUSED = ("finished before", "reused")
"""The states of a run that had already finished: in this comparison, or elsewhere."""

DATA_DIR = "PIPELINE_NODE_DATA_DIR"
"""The environment variable of a node with the folder for its data."""

PACKAGES = ("tensorflow", "keras", "mlflow", "numpy")
"""Packages whose versions have to be the same on all nodes."""

EVALUATION = 1.0
"""Minimum number of seconds that a run in its last epoch still needs: it has to be evaluated."""

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


def train(job: Job, send: Send) -> str:
    """Train and evaluate one run in a separate process; skip finished parts. Return the id of the run.

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
    existing, state = find()
    if existing is None or state is RunState.INTERRUPTED:
        start_tensorflow(job.cores)  # it takes seconds, during which other processes should be able to look for runs
        importlib.import_module("pipeline.training.training")
    while job.remote and not send(LOOKS):
        time.sleep(1)
    with ExitStack() as stack:
        while True:
            with nullcontext() if job.remote else checkpoints.exclusive(data_dir), suppress(LockedError):
                existing, state = find()
                if existing and _can_reuse(job, existing, state, send):
                    return _reused(job, existing, send)
                if state is not RunState.RUNNING:
                    resume = existing if state is RunState.INTERRUPTED else None
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


def _can_reuse(job: Job, existing: TrackedRun, state: RunState, send: Send) -> bool:
    """Return whether an existing run makes this job unnecessary; a pruned one does if it would be pruned again."""
    if state is RunState.NEW and not job.evaluate:
        rows = store.load_table(existing.run_id, schema.HISTORY).to_dict("records")
        return not all(send(EpochRecord(**{str(name): value for name, value in row.items()})) for row in rows)
    return state is RunState.FINISHED


def _reused(job: Job, run: TrackedRun, send: Send) -> str:
    """Return the id of an existing run."""
    send(Opened(run_id=run.run_id, state=DONE_HERE if store.belongs_to(run, job.parent) else DONE_ELSEWHERE))
    store.mark(run.run_id, job.parent)
    return run.run_id


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
        parent=job.parent,
        resume=resume,
        cores=job.cores,
        remote=job.remote,
    )


def _finished(job: Job, data: DataSet, run: TrackedRun, send: Send, *, state: str) -> str:
    """Train and evaluate an open run; skip finished parts. Return its id."""
    from pipeline.training import training

    send(Opened(run_id=run.run_id, state=state))
    if not training.train(run, job.settings, data, Reporter(), should_continue=send):
        send(PRUNED)
    elif job.evaluate and not run.is_evaluated:
        send("evaluates")
        evaluation.evaluate(run, data, Reporter())
    return run.run_id


# --- many jobs ------------------------------------------------------------------------------------------------------


def run_jobs(
    todo: Iterable[Job], data: DataSet, reporter: Reporter, *, count: int, executor: Executor, take: Take | None = None
) -> dict[Job, Finished | Failed]:
    """Train, ``count`` at a time; return the last event of each job. End runs whose processes could not.

    Args:
        todo: the jobs, see :meth:`Executor.run`; if they are a sequence, all are shown from the start.
        data: their data.
        reporter: shows the progress.
        count: number of jobs at a time.
        executor: runs the jobs.
        take: also receives the events, and may end a job.
    """
    ended, run_ids = dict[Job, Finished | Failed](), dict[Job, str]()  # run_ids: of jobs that have opened a run
    board = ProgressBoard(todo if isinstance(todo, Sequence) else (), count)

    def follow(event: Event) -> bool | None:
        match event:
            case Message(job, Opened(run_id=run_id)):
                run_ids[job] = run_id
            case Finished(job) | Failed(job):
                ended[job], run_id = event, run_ids.pop(job, "")
                if run_id and isinstance(event, Failed):
                    lifecycle.end(run_id, "FAILED", event.reason)  # its process may have died
        should_continue = take(event) if take else True
        board.update(event)
        reporter.trainings(board.rows, board.left)
        return should_continue

    try:
        executor.run(executor.prepared(train, data.folder), todo, count=count, take=follow)
    except KeyboardInterrupt:
        for run_id in run_ids.values():  # their processes took too long to end them
            with lifecycle.best_effort():
                lifecycle.end(run_id, "KILLED", lifecycle.STOPPED)
        raise
    return ended


class ProgressBoard:
    """The progress of jobs, a row for each, in their order.

    Args:
        jobs: the jobs; empty if they are not known in advance: each then gets its row when it starts, and the total
            time is not estimated.
        count: number of jobs at a time.
    """

    def __init__(self, jobs: Sequence[Job], count: int) -> None:
        self._rows = {job: Progress(name=job.name, epochs=job.settings.epochs) for job in jobs}
        self._count, self._all_known, self._updated = count, bool(jobs), time.monotonic()

    @property
    def rows(self) -> list[Progress]:
        """The progress of each job."""
        return list(self._rows.values())

    @property
    def left(self) -> float | None:
        """The seconds until all have ended; runs without an epoch count like the mean of the others."""
        paces = [row.record.epoch_seconds for row in self.rows if row.record]
        if not (paces and self._all_known):
            return None
        pace = sum(paces) / len(paces)
        return sum(pace * row.epochs if row.left is None else row.left for row in self.rows) / self._count

    def update(self, event: Event) -> None:
        """Enter an event."""
        now = time.monotonic()
        for row in self.rows:
            row.seconds += (now - self._updated) * row.is_active
        self._updated = now
        if isinstance(event, Tick):
            return
        row = self._rows.setdefault(event.job, Progress(name=event.job.name, epochs=event.job.settings.epochs))
        match event:
            case Started(_, machine):
                row.state, row.machine = "starts", machine
            case Message(_, EpochRecord() as record):
                row.record, row.left = record, max(EVALUATION, record.epoch_seconds * (row.epochs - record.epoch))
            case Message(_, message):
                row.state = message.state if isinstance(message, Opened) else str(message)
            case Rescheduled():
                row.state, row.machine = "restarting: its node was lost", ""
            case Finished() if row.state not in (*REUSED, PRUNED):
                row.state = "finished"
            case Failed():
                row.state = "failed"
        if isinstance(event, Finished | Failed):
            row.machine, row.left = "", 0.0


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
