"""Runs that may be cut off at any moment, are found again, and go on.

A training is known by its fingerprint (``fingerprints.py``), which is a tag of
its run. Two runs of one fingerprint are twins; they have the same numbers on one
machine.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import NamedTuple, get_args

from pipeline.data import processed
from pipeline.data.splits import DataSet
from pipeline.errors import DataError, TrackingError, UsageError
from pipeline.settings import DATA_PARAMETERS, DatasetName, Settings
from pipeline.tracking import leases, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import checkpoints, fingerprints
from pipeline.training.checkpoints import Checkpoints, Place
from pipeline.training.remote_checkpoints import place_of


@contextmanager
def open_run(
    name: str,
    place: Place,
    data: DataSet,
    *,
    kind: str,
    fingerprint: str,
    parent: str | None = None,
    resume: TrackedRun | None = None,
) -> Iterator[tuple[str, str]]:
    """Open or continue a run, and hold its checkpoint; yield the id of the run and the name of the checkpoint.

    The checkpoint is held before the run is there, and until it has ended; when it has ended well, it is removed.

    Args:
        name: of the run; see :func:`pipeline.tracking.lifecycle.open_run`.
        place: of the checkpoints.
        data: what is trained on.
        kind: of the run, such as :data:`runs.TRAINING`.
        fingerprint: by which the run is found again.
        parent: the id of the run that it belongs under.
        resume: the run to continue.

    Raises:
        DataError: the checkpoint cannot be made.
        UsageError: another process is at the run to be resumed.
    """
    tags = schema.of_kind(kind) | {schema.FINGERPRINT: fingerprint, schema.DATASET: data.name}
    tags |= {schema.DATASET_DIGEST: data.digest, schema.CHECKPOINT: schema.ON_SERVER if place.travels else ""}
    if resume is None and place.travels:  # the run is there first: it tells who is at it
        resume = store.get_run(lifecycle.begin_run(name, tags, parent=parent))
    checkpoint = resume.checkpoint if resume else checkpoints.new_name()
    with place.hold(checkpoint):
        tags |= {} if place.travels else {schema.CHECKPOINT: checkpoint}
        run_id = resume.run_id if resume else None
        keeps = functools.partial(place.keeps, checkpoint)
        with lifecycle.open_run(name, tags, parent=parent, resume=run_id, is_ours=keeps) as opened:
            yield opened, checkpoint
        place.remove(checkpoint)


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """How a training is to begin.

    Attributes:
        resume: the id of a run that was cut off and shall go on, with its own parameters.
        new: do not go on with a run of the same training that was cut off.
        force: try it even if it cannot fit into the memory.
    """

    resume: str | None = None
    new: bool = False
    force: bool = False


class State(StrEnum):
    """How far a run is."""

    ENDED = "ended"
    CUT_OFF = "cut off"
    HELD = "another process is at it"


class Twin(NamedTuple):
    """A run that is the same training as another one."""

    run: TrackedRun
    state: State


def find_twin(fingerprint: str, place: Place, *, evaluate: bool = True) -> Twin | None:
    """Return the run of this experiment that comes nearest to having done a training already.

    Args:
        fingerprint: of the training.
        place: of the checkpoints.
        evaluate: whether an evaluation belongs to it.

    Returns:
        One that has ended, with its evaluation if that belongs to it; else one that another process on this machine is
        at; else one that was cut off and can go on; else None.
    """
    twins: dict[State, Twin] = {}
    for run in store.find_runs(f"tags.{schema.FINGERPRINT} = '{fingerprint}'"):
        if state := _state(run, place, evaluate=evaluate):
            twins.setdefault(state, Twin(run, state))
    return next((twins[state] for state in (State.ENDED, State.HELD, State.CUT_OFF) if state in twins), None)


def find_pruned(fingerprint: str) -> TrackedRun | None:
    """Return a run of this experiment that is the same training, and that a search has ended early."""
    found = store.find_runs(f"tags.{schema.FINGERPRINT} = '{fingerprint}' and tags.{schema.PRUNED} = 'true'")
    return next((run for run in found if run.status == "FINISHED"), None)


def cut_off(fingerprint: str, place: Place) -> TrackedRun | None:
    """Return the run of this experiment that did a part of a training, or of a comparison, and can go on.

    Where only a heartbeat tells whether somebody is at it, this waits for the next one, or until there can be none.
    """
    before: dict[str, float] = {}
    while True:
        held = False
        for run in store.find_runs(f"tags.{schema.FINGERPRINT} = '{fingerprint}'"):
            state = None if run.status == "FINISHED" else _state(run, place)
            if state is State.CUT_OFF:
                return run
            beat = leases.beat_of(run)
            held |= state is State.HELD and run.travels and before.setdefault(run.run_id, beat) == beat
        if not held:
            return None
        time.sleep(1)


def _state(run: TrackedRun, place: Place, *, evaluate: bool = True) -> State | None:
    if run.status == "FINISHED" and (run.is_evaluated if evaluate else run.is_trained):
        return State.ENDED
    own = place_of(run, place)
    if own is None:
        return None
    try:
        if own.is_held(run.checkpoint):
            return State.HELD
        check_can_go_on(run, own)
    except DataError:
        return None
    return State.CUT_OFF


def check_can_go_on(run: TrackedRun, place: Place) -> None:
    """Check that what was done of a training is here, so that nothing is written on its run in vain.

    Raises:
        DataError: it was begun elsewhere, or its checkpoint is lost or damaged.
    """
    checkpoint = run.checkpoint
    if run.is_trained:
        return
    if not place.exists(checkpoint) or (place.load(checkpoint) is None and schema.COST in run.metrics):
        raise DataError(
            f"data_dir: expected the checkpoint of run {run.run_id}, found none. "
            "Resume on the machine and with the data_dir that it was begun with, or train anew."
        )


def resumed(run_id: str, given: Settings, *, evaluate: bool) -> tuple[TrackedRun, Settings, DataSet]:
    """Return a run that is to go on, its parameters and its data.

    Args:
        run_id: of the run.
        given: ``data_dir`` is taken from here; what else differs from its default must be as it is in the run.
        evaluate: whether it is to be evaluated, too.

    Raises:
        DataError: its data or its checkpoint is not here.
        TrackingError: there is no such run, or it is not a training.
        UsageError: it has ended, was begun by other code, or has other parameters than those given.
    """
    run = store.get_run(run_id)
    if schema.FINGERPRINT not in run.tags or not run.is_training:
        raise TrackingError(f"resume: expected a training run of this pipeline, received {run_id!r}, which is none.")
    if run.status == "FINISHED" and (run.is_evaluated if evaluate else run.is_trained):
        raise UsageError(f"resume: expected a run that was cut off, received {run_id}, which has ended.")
    settings = _settings_of(run, given)
    data = processed.find_by_digest(settings.data_dir, run.tags[schema.DATASET], run.tags[schema.DATASET_DIGEST])
    if fingerprints.of(settings, data) != run.tags[schema.FINGERPRINT]:
        raise UsageError(
            f"resume: expected a run of the code and the TensorFlow that are here, received {run_id}, begun by others. "
            "The rest would not be as it would have been there; train anew."
        )
    place = place_of(run, Checkpoints(settings.data_dir))
    assert place is not None  # noqa: S101 - seen from this machine, each is somewhere
    if not place.is_held(run.checkpoint):  # to open it will say so
        check_can_go_on(run, place)
    return run, settings, data


def _settings_of(run: TrackedRun, given: Settings) -> Settings:
    """Return the parameters that a run has logged; only ``data_dir`` may be another."""
    names = {field.name for field in fields(Settings)}
    logged: dict[str, object] = {name: value for name, value in run.params.items() if name in names}
    if logged["dataset"] not in get_args(DatasetName):  # a custom one, which its digest finds
        logged["dataset"] = given.dataset
    settings = Settings.of(logged)
    default = Settings()
    for field in fields(Settings):
        value, own = getattr(given, field.name), getattr(settings, field.name)
        if value not in (own, getattr(default, field.name)) and field.name not in DATA_PARAMETERS:
            raise UsageError(
                f"{field.name}: expected {own}, as in the run to be resumed, received {value}. Leave it out."
            )
    return settings if given.data_dir == default.data_dir else replace(settings, data_dir=given.data_dir)
