"""Runs that may be cut off at any moment, are found again, and go on.

A training is known by its fingerprint: a digest of its parameters as they apply
to the data, of the data, and of the code. It stands as a tag on each run. Two
runs of one fingerprint are twins; they have the same numbers on one machine.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pipeline import checkpoints, digests, tracking
from pipeline.settings import Settings
from pipeline.splits import DataSet

TRAINED = "train_seconds"
"""The last metric that a training logs: a run that has it needs no checkpoint."""

EVALUATED = "test_accuracy"
"""The last metric that an evaluation logs."""


def parameters(settings: Settings, data: DataSet) -> dict[str, object]:
    """Return every parameter by name as it applies to ``data``.

    Raises:
        UsageError: one does not fit the data.
    """
    return settings.resolved(dataset=data.name, images=len(data.train.labels), height=data.height, width=data.width)


def fingerprint(settings: Settings, data: DataSet) -> str:
    """Return the digest of all that settles the numbers of a training."""
    return digests.of_training(parameters(settings, data), data.digest)


@contextmanager
def open_run(
    name: str, data_dir: Path, *, parent: str | None = None, resume: str | None = None
) -> Iterator[tuple[str, Path]]:
    """Open or continue a run, and hold the folder of its checkpoint; yield the id and the folder.

    The folder is removed when the run has ended well.

    Args:
        name: of the run; see :func:`pipeline.tracking.open_run`.
        data_dir: holds the checkpoints.
        parent: the id of the run that it belongs under.
        resume: the id of the run to continue.

    Raises:
        DataError: the folder cannot be made.
        UsageError: another process is at the run to be resumed.
    """
    with ExitStack() as lock:  # left after the run: one that has not ended, and that nobody holds, was cut off
        if resume:
            folder = lock.enter_context(checkpoints.held(data_dir, resume))
        with tracking.open_run(name, parent=parent, resume=resume) as run_id:
            if not resume:
                folder = lock.enter_context(checkpoints.held(data_dir, run_id))
            yield run_id, folder
        checkpoints.remove(folder)


class State(StrEnum):
    """How far a run is."""

    ENDED = "ended"
    CUT_OFF = "cut off"
    HELD = "another process is at it"


class Twin(NamedTuple):
    """A run that is the same training as another one."""

    run_id: str
    state: State


def find_twin(fingerprint: str, data_dir: Path, *, ended: str) -> Twin | None:
    """Return the run of this experiment that comes nearest to having done a training already.

    Args:
        fingerprint: of the training.
        data_dir: holds the checkpoints.
        ended: the metric that a run has which has nothing left to do.

    Returns:
        One that has ended; else one that another process on this machine is at; else one that was cut off and can go
        on; else None.
    """
    twins: dict[State, Twin] = {}
    for run in tracking.find_runs(f"tags.fingerprint = '{fingerprint}'"):
        if state := _state(run.info.run_id, run.info.status, set(run.data.metrics), data_dir, ended=ended):
            twins.setdefault(state, Twin(run.info.run_id, state))
    return next((twins[state] for state in (State.ENDED, State.HELD, State.CUT_OFF) if state in twins), None)


def _state(run_id: str, status: str, metrics: set[str], data_dir: Path, *, ended: str) -> State | None:
    if status == "FINISHED" and ended in metrics:
        return State.ENDED
    if checkpoints.is_held(data_dir, run_id):
        return State.HELD
    if TRAINED in metrics or checkpoints.folder_of(data_dir, run_id).exists():
        return State.CUT_OFF
    return None
