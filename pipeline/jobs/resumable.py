"""Runs that may be cut off at any moment, are found again, and go on.

A training is known by its fingerprint: a digest of its parameters as they apply
to the data, of the data, and of the code. It is a tag of each run. Two
runs of one fingerprint are twins; they have the same numbers on one machine.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.jobs import checkpoints
from pipeline.tracking import store

Run = Any  # MLflow's, whose own type only store.py knows

TRAINED = "train_seconds"
"""The last metric that a training logs: a run that has it needs no checkpoint."""

EVALUATED = "test_accuracy"
"""The last metric that an evaluation logs."""


FINGERPRINT = "fingerprint"
CHECKPOINT = "checkpoint"
"""The tags of a run: its fingerprint, and the name of its checkpoint."""


@contextmanager
def open_run(
    name: str, data_dir: Path, *, fingerprint: str, parent: str | None = None, resume: str | None = None
) -> Iterator[tuple[str, Path]]:
    """Open or continue a run, and hold the folder of its checkpoint; yield the id and the folder.

    The folder is there and held before the run is, and until it has ended; when it has ended well, it is removed.

    Args:
        name: of the run; see :func:`pipeline.tracking.open_run`.
        data_dir: holds the checkpoints.
        fingerprint: by which the run is found again.
        parent: the id of the run that it belongs under.
        resume: the id of the run to continue.

    Raises:
        DataError: the folder cannot be made.
        UsageError: another process is at the run to be resumed.
    """
    checkpoint = store.get_run(resume).data.tags[CHECKPOINT] if resume else uuid.uuid4().hex
    with checkpoints.held(data_dir, checkpoint) as folder:
        tags = {FINGERPRINT: fingerprint, CHECKPOINT: checkpoint}
        with store.open_run(name, tags, parent=parent, resume=resume) as run_id:
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


def find_twin(fingerprint: str, data_dir: Path) -> Twin | None:
    """Return the run of this experiment that comes nearest to having done a training already.

    Args:
        fingerprint: of the training.
        data_dir: holds the checkpoints.

    Returns:
        One that has ended, with its evaluation; else one that another process on this machine is at; else one that was
        cut off and can go on; else None.
    """
    twins: dict[State, Twin] = {}
    for run in store.find_runs(f"tags.{FINGERPRINT} = '{fingerprint}'"):
        if state := _state(run, data_dir):
            twins.setdefault(state, Twin(run.info.run_id, state))
    return next((twins[state] for state in (State.ENDED, State.HELD, State.CUT_OFF) if state in twins), None)


def _state(run: Run, data_dir: Path) -> State | None:
    checkpoint, metrics = run.data.tags[CHECKPOINT], run.data.metrics
    if run.info.status == "FINISHED" and EVALUATED in metrics:
        return State.ENDED
    if checkpoints.is_held(data_dir, checkpoint):
        return State.HELD
    if TRAINED in metrics or checkpoints.folder_of(data_dir, checkpoint).exists():
        return State.CUT_OFF
    return None
