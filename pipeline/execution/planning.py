"""Plan a comparison: which runs are reused, resumed or new, and how long they will take."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.data.splits import DataSet
from pipeline.machine import usable_cores
from pipeline.progress import duration
from pipeline.settings import WITHOUT_EFFECT, Settings
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import identity, resuming
from pipeline.training.checkpoints import LocalCheckpoints
from pipeline.training.resuming import RunState

NEW, UNKNOWN, REUSED = "new", "unknown", "reused"
_STATES = {RunState.FINISHED: REUSED, RunState.INTERRUPTED: "resumed", RunState.RUNNING: "running in another process"}

COLUMNS = ("training", "state", "about")

_NO_EFFECT_ON_TIME = WITHOUT_EFFECT | schema.COMMAND_OPTIONS | {"seed", "epochs"}


class Item(NamedTuple):
    """A training of a plan, and the seconds that it takes; None if no earlier run tells."""

    name: str
    state: str
    seconds: float | None


def plan(trainings: Sequence[Settings], data: DataSet | None, *, count: int) -> list[Item]:
    """Return what a comparison has to do, without doing it.

    Args:
        trainings: the parameters of each.
        data: what they train on; None if it is not here yet: then nothing is known.
        count: number of trainings at a time.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: a parameter does not fit the data.
    """
    names = identity.run_names(trainings, data.name if data else trainings[0].dataset)
    if data is None or not connection.is_there():
        return [Item(name, UNKNOWN if data is None else NEW, None) for name in names]
    connection.connect()
    earlier, cores = _earlier(data), max(1, usable_cores() // count)
    return [_item(name, settings, data, earlier, cores) for name, settings in zip(names, trainings, strict=True)]


def _earlier(data: DataSet) -> list[TrackedRun]:
    """Return the runs on this data that have finished on a machine like this one."""
    found = store.find_runs(f"attributes.status = 'FINISHED' and tags.{schema.DATASET_DIGEST} = '{data.digest}'")
    here = [run for run in found if run.tags.get(schema.MACHINE, "").startswith(lifecycle.processor())]
    return [run for run in here if run.is_training and run.is_evaluated and schema.SECONDS_TRAIN in run.metrics]


def _item(name: str, settings: Settings, data: DataSet, earlier: Sequence[TrackedRun], cores: int) -> Item:
    existing = resuming.find_run(identity.fingerprint(settings, data), settings.data_dir)
    state = _STATES.get(existing.state, NEW) if existing else NEW
    if state == REUSED:
        return Item(name, state, 0.0)
    kind = _kind(identity.parameters(settings, data))
    left = settings.epochs
    if existing and existing.state is RunState.INTERRUPTED:
        snapshot = LocalCheckpoints(settings.data_dir).load(existing.run.checkpoint)
        left -= len(snapshot.history) if snapshot else 0
    known = [_seconds(run, left, cores) for run in earlier if _kind(run.params) == kind]
    return Item(name, state, statistics.median(known) if known else None)


def _kind(parameters: Mapping[str, object]) -> dict[str, str]:
    """Return the parameters that decide how long an epoch takes."""
    return {name: str(value) for name, value in parameters.items() if name not in _NO_EFFECT_ON_TIME}


def _seconds(run: TrackedRun, epochs: int, cores: int) -> float:
    """Return the seconds that some epochs like those of an earlier run take, and what is around them.

    One training on two cores does about as much as two trainings on one core each.
    """
    total = run.metrics[schema.SECONDS_TRAIN] + run.metrics.get(schema.SECONDS_EVALUATE, 0.0)
    further = epochs - int(run.params["epochs"])
    seconds = max(0.0, total + further * run.metrics["epoch_seconds"])
    return seconds * int(run.tags.get(schema.CORES, cores)) / cores


def rows(items: Sequence[Item]) -> list[list[str]]:
    """Return a plan as the rows of a table."""
    return [[item.name, item.state, duration(item.seconds) if item.seconds else ""] for item in items]


def summary(items: Sequence[Item], count: int) -> str:
    """Return how many trainings have which state, and about how long they take, ``count`` at a time."""
    states = [item.state for item in items]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    known = [item.seconds for item in items if item.seconds is not None]
    time = f"About {duration(sum(known) / count)}" if any(known) else "Nothing to train"
    if unknown := len(items) - len(known):
        reason = "no comparable run has finished on this machine yet"
        time = f"{time} without {unknown} of them: {reason}" if any(known) else f"No time estimate: {reason}"
    return f"{len(items)} training{'' if len(items) == 1 else 's'}, {count} at a time: {counts}. {time}."
