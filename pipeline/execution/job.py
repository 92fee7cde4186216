"""Runs as jobs of an executor: one job, its messages and its needs on another machine; many jobs and their progress.

A node of a cluster does not see the disk of the machine where the command was typed: data and custom cells come with
the jobs.
"""

import importlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Self

from pipeline import cells, disk
from pipeline.data import stored
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import DataError, TrainingError, UsageError
from pipeline.execution.executors import Event, Executor, FileRef, Send, Take
from pipeline.model import custom_cells
from pipeline.progress import Progress, Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import evaluation, identity, resuming
from pipeline.training.resuming import LockedError, RunState

PRUNED, REUSED = "pruned", "reused"
"""The states of a run that a search ended early, and of one that had already finished."""

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
    source: custom_cells.Source | None = None
    remote: bool = False

    @classmethod
    def of(cls, name: str, settings: Settings, data: DataSet, **others: Any) -> Self:
        """Return the job for a run on a data set, with the present code."""
        return cls(
            name=name,
            settings=settings,
            dataset=data.name,
            digest=data.digest,
            fingerprint=identity.fingerprint(settings, data),
            source=custom_cells.source(settings.cell) if cells.is_custom(settings.cell) else None,
            **others,
        )


class Opened(NamedTuple):
    """The message that a job has opened a run, and whether it is new or resumed."""

    run_id: str
    state: str


def train(job: Job, send: Send, *, files: FileRef) -> str:
    """Train and evaluate one run in a separate process; skip finished parts. Return the id of the run.

    Sends texts, which are states; :class:`Opened` once; then an :class:`EpochRecord` per epoch, and stops if the answer
    says so.

    Args:
        job: the job.
        send: sends a message to the process that created the job; returns its answer.
        files: the folder of the data, for machines that do not have it.

    Raises:
        TrainingError: the code has changed since the other jobs started.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)  # it is the comparison's run; the job has its own
    job = received(job, files) if job.remote else job
    data = stored.find_by_digest(job.settings.data_dir, job.dataset, job.digest)
    _check_code(job, data)
    if _find(job)[1] is not RunState.FINISHED:
        start_tensorflow(job.cores)  # it takes seconds, during which other processes should be able to look for runs
        importlib.import_module("pipeline.training.training")
    while job.remote and not send(LOOKS):
        time.sleep(1)
    with ExitStack() as stack:
        run, state = _opened(job, data, send, stack)
        send(Opened(run.run_id, state))
        if state == REUSED:
            store.mark(run.run_id, job.parent)
            return run.run_id
        from pipeline.training import training

        if not training.train(run, job.settings, data, Reporter(), should_continue=send):
            send(PRUNED)
        elif job.evaluate and not run.is_evaluated:
            send("evaluates")
            evaluation.evaluate(run, data, Reporter())
    return run.run_id


def _find(job: Job) -> tuple[TrackedRun | None, RunState]:
    """Return the existing run with the fingerprint of a job, if any, and its state."""
    return resuming.find_run(job.fingerprint, job.settings.data_dir, remote=job.remote, evaluate=job.evaluate)


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


def _opened(job: Job, data: DataSet, send: Send, stack: ExitStack) -> tuple[TrackedRun, str]:
    """Return the run of a job and its state: a finished run, or one that the stack closes: a resumed or a new one."""
    while True:
        exclusive = nullcontext() if job.remote else resuming.exclusive(job.settings.data_dir)
        with exclusive, suppress(LockedError):  # another process was faster
            existing, state = _find(job)
            if existing and _can_reuse(job, existing, state, send):
                return existing, REUSED
            if state is not RunState.RUNNING:
                from pipeline.training import training

                resume = existing if state is RunState.INTERRUPTED else None
                run = training.open_run(
                    job.settings,
                    data,
                    name=job.name,
                    parent=job.parent,
                    resume=resume,
                    cores=job.cores,
                    remote=job.remote,
                )
                return stack.enter_context(run), "resumes" if resume else "trains"
        send("waiting for another process")
        time.sleep(1)


# --- many jobs ------------------------------------------------------------------------------------------------------


def run_jobs(
    todo: Iterable[tuple[str, Settings]],
    data: DataSet,
    reporter: Reporter,
    *,
    parent: str,
    count: int,
    executor: Executor,
    evaluate: bool = True,
    take: Take | None = None,
) -> dict[str, Event]:
    """Train, ``count`` at a time; return the last event of each run by its name. End runs whose processes could not.

    ``todo`` are names and parameters, see :meth:`Executor.run`; the runs of a sequence are shown from the start. They
    are children of the run ``parent``. ``take`` also receives the events, and may end a run.
    """
    cores, remote = executor.cores(count), executor.remote
    jobs = (Job.of(*each, data, parent=parent, cores=cores, evaluate=evaluate, remote=remote) for each in todo)
    known = [*jobs] if isinstance(todo, Sequence) else []
    board = ProgressBoard(known, count)

    def follow(event: Event) -> bool | None:
        should_continue = take(event) if take else True
        board.update(event)
        if event.kind == "failed" and event.job.name in board.run_ids:
            lifecycle.end(board.run_ids[event.job.name], "FAILED", event.content)  # its process may have died
        reporter.trainings([*board.rows.values()], board.left)
        return should_continue

    try:
        executor.run(partial(train, files=executor.file_ref(data.folder)), known or jobs, count=count, take=follow)
    except KeyboardInterrupt:
        for name in board.run_ids.keys() - board.ended.keys():  # their processes took too long to end them
            with lifecycle.best_effort():
                lifecycle.end(board.run_ids[name], "KILLED", lifecycle.STOPPED)
        raise
    return board.ended


class ProgressBoard:
    """The progress of runs.

    Args:
        jobs: the jobs; empty if they are not known in advance: each then gets its row when it starts, and the total
            time is not estimated.
        count: number of runs at a time.

    Attributes:
        rows: the progress of each run by its name, in their order.
        run_ids: the ids of the runs that were opened, by name.
        ended: the last events of those that have ended, by name.
    """

    def __init__(self, jobs: Sequence[Job], count: int) -> None:
        self.rows = {job.name: Progress(name=job.name, epochs=job.settings.epochs) for job in jobs}
        self.run_ids, self.ended = dict[str, str](), dict[str, Event]()
        self._count, self._all_known, self._updated = count, bool(jobs), time.monotonic()

    @property
    def left(self) -> float | None:
        """The seconds until all have ended; runs without an epoch count like the mean of the others."""
        rows = self.rows.values()
        paces = [row.record.epoch_seconds for row in rows if row.record]
        if not (paces and self._all_known):
            return None
        pace = sum(paces) / len(paces)
        return sum(pace * row.epochs if row.left is None else row.left for row in rows) / self._count

    def update(self, event: Event) -> None:
        """Enter an event."""
        now = time.monotonic()
        for row in self.rows.values():
            row.seconds += (now - self._updated) * row.is_active
        self._updated = now
        if event.kind == "tick":
            return
        name = event.job.name
        row = self.rows.setdefault(name, Progress(name=name, epochs=event.job.settings.epochs))
        match event.kind, event.content:
            case "started", machine:
                row.state, row.machine = "starts", machine
            case "message", EpochRecord() as record:
                row.record, row.left = record, max(EVALUATION, record.epoch_seconds * (row.epochs - record.epoch))
            case "message", Opened(run_id=run_id, state=state):
                self.run_ids[name], row.state = run_id, state
            case "message", text:
                row.state = text
            case "rescheduled", _:
                row.state, row.machine = "restarting: its process was lost", ""
            case kind, _:
                self.ended[name] = event
                row.state = row.state if kind == "finished" and row.state in (REUSED, PRUNED) else kind
                row.machine, row.left = "", 0.0


# --- on another machine ---------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def check_node(driver: Mapping[str, str], *, tracks: bool) -> None:
    """Check that this node has the driver's versions and, if the jobs write runs, can write them and keep data.

    Raises:
        OSError: it cannot write to its folder.
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
        data_dir().mkdir(parents=True, exist_ok=True)


def data_dir() -> Path:
    """Return this node's folder for data."""
    return Path(os.environ.get(DATA_DIR) or Path.home() / ".cache" / "recurrent-mlflow-pipeline")


def received(job: Job, files: FileRef) -> Job:
    """Return the job as it runs on this node, after its data and the file of its custom cell were written here."""
    folder = stored.folder_of(data_dir(), job.dataset, job.digest)
    with stored.locked(folder.parent):
        try:
            stored.find_by_digest(data_dir(), job.dataset, job.digest)  # this also verifies it
        except DataError:
            with disk.new_folder(folder) as incoming, files.open() as copy:
                shutil.copytree(copy, incoming, dirs_exist_ok=True)
    if job.source:
        root = data_dir() / "cells" / job.source.digest
        path = root.joinpath(*job.settings.cell.partition(":")[0].split(".")).with_suffix(".py")
        disk.write(path, job.source.content)
        sys.path.insert(0, str(root))  # so that Python imports it before other modules of its name
        importlib.invalidate_caches()
    return replace(job, settings=replace(job.settings, data_dir=data_dir()))
