"""One run as a job of an executor: its input, its messages and its result."""

import importlib
import os
import time
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from pipeline import cells, custom_cells
from pipeline.custom_cells import Source
from pipeline.data import processed
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution.worker_pool import Send
from pipeline.progress import Reporter
from pipeline.records import EpochRecord
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import schema, store
from pipeline.training import fingerprints, resuming
from pipeline.training.locks import LockedError, RunLocks
from pipeline.training.resuming import ExistingRun, RunState

if TYPE_CHECKING:  # it imports TensorFlow
    from pipeline.training.training import OpenRun

PRUNED = "pruned"
"""The state of a training that a search has ended early."""

DONE_HERE, DONE_ELSEWHERE = REUSED = ("finished before", "reused")
"""The states of a training that was done already: by this comparison, or outside of it."""

LOOKS = "looks for an earlier run"
"""The state of a training before it opens a run; the answer is whether no other job does the same training."""

WAITING = "waits for another process"
"""The state of a training that another process, or another job, is doing."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training, as it is handed to a process.

    Attributes:
        settings: its parameters.
        name: of its run.
        parent: the id of the comparison's run.
        dataset: the name of the processed data.
        digest: of that data.
        fingerprint: of the training, with the code as it was when the job was made.
        cores: that it may use.
        evaluate: whether its model is tested; of a trial of a search it is not.
        source: the file of its custom cell, for machines that do not have it.
        remote: whether it is done on a node of a cluster, where nothing is locked.
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
        """Return the training of a data set, by the code that is there now."""
        return cls(
            settings=settings,
            name=name,
            parent=parent,
            dataset=data.name,
            digest=data.digest,
            fingerprint=fingerprints.of(settings, data),
            cores=cores,
            evaluate=evaluate,
            source=custom_cells.source(settings.cell) if cells.is_custom(settings.cell) else None,
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A job says which run it works on, and what it does there."""

    run_id: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a job leaves.

    Attributes:
        run_id: of its run.
        pruned: whether it was ended early, so that it has no model.
    """

    run_id: str
    pruned: bool = False


def train(job: Job, send: Send) -> Done:
    """Do what is left of one training, in a process of its own.

    Sends texts, which are states; :class:`Opened` once; then an :class:`EpochRecord` per epoch, and stops if the answer
    says so.

    Args:
        job: the training.
        send: sends a message to the process that has made the job; returns its answer.

    Raises:
        TrainingError: the code is no longer that of the other jobs.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)  # of the comparison: the training has a run of its own
    data_dir = job.settings.data_dir
    data = processed.find_by_digest(data_dir, job.dataset, job.digest)
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
                    return _reused(job, existing, send)
                if existing is None or existing.state is not RunState.RUNNING:
                    opened = _opened(job, data, existing, stack)
                    break
            send(WAITING)
            time.sleep(1)
        return _finished(job, opened, send, is_resumed=existing is not None and existing.state is RunState.INTERRUPTED)


def _check_code(job: Job, data: DataSet) -> None:
    """Check that this process would do the same training as the one that made the job; each imports code by itself."""
    if fingerprints.of(job.settings, data) != job.fingerprint:
        changed = f"the file of {job.settings.cell}, or this package," if job.source else "this package"
        raise TrainingError(
            f"code: expected that with which the other trainings began, found that {changed} has changed since. "
            "Repeat the command: it trains with the code that is there now."
        )


def _can_reuse(job: Job, existing: ExistingRun, send: Send) -> bool:
    """Return whether an existing run makes this job unnecessary; a pruned one does if it would be pruned again."""
    if existing.state is RunState.PRUNED and not job.evaluate:
        rows = store.load_table(existing.run.run_id, schema.HISTORY).to_dict("records")
        return not all(send(EpochRecord(**{str(name): value for name, value in row.items()})) for row in rows)
    return existing.state is RunState.FINISHED


def _reused(job: Job, existing: ExistingRun, send: Send) -> Done:
    """Take a run as it is that has done the training already."""
    run = existing.run
    send(Opened(run_id=run.run_id, state=DONE_HERE if store.belongs_to(run, job.parent) else DONE_ELSEWHERE))
    store.mark(run.run_id, job.parent)
    return Done(run_id=run.run_id, pruned=run.is_pruned)


def _opened(job: Job, data: DataSet, existing: ExistingRun | None, stack: ExitStack) -> "OpenRun":
    """Open a run for the training, or the interrupted one; the stack ends it.

    Raises:
        LockedError: another process was faster.
    """
    start_tensorflow(job.cores)
    from pipeline.training import training

    resume = existing.run if existing and existing.state is RunState.INTERRUPTED else None
    return stack.enter_context(
        training.open_run(
            job.settings,
            data,
            name=job.name,
            parent=None if resume else job.parent,
            resume=resume,
            cores=job.cores,
            tested=job.evaluate,
            remote=job.remote,
        )
    )


def _finished(job: Job, opened: "OpenRun", send: Send, *, is_resumed: bool) -> Done:
    """Train and evaluate what is left of an open run."""
    import keras

    from pipeline.training import training

    keras.backend.clear_session()  # forgets the training before
    send(Opened(run_id=opened.run_id, state="resumes" if is_resumed else "trains"))
    store.mark(opened.run_id, job.parent)
    has_model = training.train(opened, Reporter(), should_continue=send)
    if job.evaluate:
        send("evaluates")
        training.evaluate(opened, Reporter())
    return Done(run_id=opened.run_id, pruned=not has_model)
