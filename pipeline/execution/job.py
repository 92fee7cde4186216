"""A training as a job of an executor: all that a process needs to know, what it says on the way, what it leaves."""

import importlib
import os
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pipeline import cells
from pipeline.data import processed
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution.worker_pool import Send
from pipeline.progress import Reporter
from pipeline.records import EpochRecord
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import children, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import fingerprints, resuming
from pipeline.training.checkpoints import Checkpoints, HeldError, Place
from pipeline.training.resuming import State, Twin

if TYPE_CHECKING:  # it imports TensorFlow
    from pipeline.training.training import Training

PRUNED = "pruned"
"""The state of a training that was ended early."""

DONE_HERE, DONE_ELSEWHERE = TAKEN_OVER = ("ended before", "taken over")
"""The states of a training that was done already: by this comparison, or outside of it."""

WAITING = "waits for another process that is at it"

GIVEN_UP = "was given up here, and taken over by another process"


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
    """

    settings: Settings
    name: str
    parent: str
    dataset: str
    digest: str
    fingerprint: str
    cores: int
    evaluate: bool = True

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
        taken_over: whether that had ended elsewhere, outside this comparison.
        pruned: whether it was ended early, so that it has no model.
    """

    run_id: str
    taken_over: bool
    pruned: bool = False


def train(job: Job, send: Send, place: Place | None = None) -> Done:
    """Do in a process of its own what is left to do of one training.

    Sends :class:`Opened` once, then an :class:`EpochRecord` per epoch, after which it stops if that is the answer; a
    text is a state. The checkpoint of a new run is kept in ``place``, by default on this machine.

    Raises:
        TrainingError: the code is no longer that of the other jobs.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)  # of the comparison: the training has a run of its own
    data = processed.find_by_digest(job.settings.data_dir, job.dataset, job.digest)
    _check_code(job, data)
    place = place or Checkpoints(job.settings.data_dir)
    _warm_up(job, place)
    with ExitStack() as stack:
        while True:
            with place.alone():
                twin = resuming.find_twin(job.fingerprint, place, evaluate=job.evaluate)
                if twin and twin.state is State.ENDED:
                    return _taken_over(job, twin.run, send)
                if not job.evaluate and (pruned := resuming.find_pruned(job.fingerprint)) and _is_pruned(pruned, send):
                    return _taken_over(job, pruned, send)
                if twin is None or twin.state is State.CUT_OFF:
                    with suppress(HeldError):  # another process was faster
                        opened = stack.enter_context(_opened(job, data, twin, place))
                        break
            send(WAITING)
            time.sleep(1)
        try:
            return _finished(job, opened, send, goes_on=twin is not None)
        except lifecycle.TakenError:
            send(GIVEN_UP)
            raise


def _warm_up(job: Job, place: Place) -> None:
    """Import TensorFlow, unless nothing will be trained: it takes seconds, in which no process should wait to look."""
    twin = resuming.find_twin(job.fingerprint, place, evaluate=job.evaluate)
    if twin is None and not job.evaluate and resuming.find_pruned(job.fingerprint):
        return
    if twin is None or twin.state is State.CUT_OFF:
        start_tensorflow(job.cores)
        importlib.import_module("pipeline.training.training")


def _check_code(job: Job, data: DataSet) -> None:
    """Check that this process would do the same training as the one that made the job; each imports code by itself."""
    if fingerprints.of(job.settings, data) != job.fingerprint:
        cell = job.settings.cell
        changed = f"the file of {cell}, or this package," if cells.is_custom(cell) else "this package"
        raise TrainingError(
            f"code: expected that with which the other trainings began, found that {changed} has changed since. "
            "Repeat the command: it trains with the code that is there now."
        )


def _opened(job: Job, data: DataSet, twin: Twin | None, place: Place) -> "AbstractContextManager[Training]":
    """Open a run for the training, or that of the twin that was cut off."""
    start_tensorflow(job.cores)  # if the twin has been cut off since
    from pipeline.training import training

    resume = twin.run if twin else None
    parent = None if twin else job.parent
    return training.opened(
        job.settings,
        data,
        name=job.name,
        parent=parent,
        resume=resume,
        cores=job.cores,
        tested=job.evaluate,
        place=place,
    )


def _taken_over(job: Job, run: TrackedRun, send: Send) -> Done:
    """Take a run as it is that has done the training already."""
    own = children.belongs_to(run, job.parent)
    send(Opened(run_id=run.run_id, state=DONE_HERE if own else DONE_ELSEWHERE))
    children.mark(run.run_id, job.parent)
    return Done(run_id=run.run_id, taken_over=not own, pruned=run.is_pruned)


def _is_pruned(run: TrackedRun, send: Send) -> bool:
    """Return whether a training that an earlier search has pruned would be pruned by this one, too."""
    rows = store.load_table(run.run_id, schema.HISTORY).to_dict("records")
    return not all(send(EpochRecord(**{str(name): value for name, value in row.items()})) for row in rows)


def _finished(job: Job, opened: "Training", send: Send, *, goes_on: bool) -> Done:
    """Do what is left to do in an open run."""
    import keras

    from pipeline.training import training

    keras.backend.clear_session()  # forgets the training before
    send(Opened(run_id=opened.run_id, state="goes on" if goes_on else "trains"))
    children.mark(opened.run_id, job.parent)
    training.finish(opened, Reporter(), evaluate=False, goes_on=send)
    if job.evaluate:
        send("evaluates")
        training.finish(opened, Reporter(), evaluate=True)
    return Done(run_id=opened.run_id, taken_over=False, pruned=store.get_run(opened.run_id).is_pruned)
