"""What there is to do of a comparison before it begins: what was trained already, and about how long the rest takes."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.splits import DataSet
from pipeline.errors import DataError
from pipeline.machine import usable_cores
from pipeline.progress import duration
from pipeline.settings import WITHOUT_EFFECT, Settings
from pipeline.tracking import connection, lineage, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import fingerprints, naming, resuming
from pipeline.training.checkpoints import open_store
from pipeline.training.resuming import RunState

NEW, UNKNOWN = "new", "unknown"
TAKEN_OVER, GOES_ON, ELSEWHERE = "taken over", "goes on", "another process is at it"
_WORDS = {RunState.FINISHED: TAKEN_OVER, RunState.INTERRUPTED: GOES_ON, RunState.RUNNING: ELSEWHERE}

COLUMNS = ("training", "state", "about")

_OF_NO_EPOCH = WITHOUT_EFFECT | schema.COMMAND_OPTIONS | {"seed", "epochs"}
"""The params that do not say how long an epoch takes."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A training of a plan: what becomes of it, and the seconds that are left of it; None where nothing tells."""

    name: str
    state: str
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to do, ``count`` trainings at a time."""

    items: Sequence[Item]
    count: int


def plan(trainings: Sequence[Settings], data: DataSet | None, *, count: int) -> Plan:
    """Return what there is to do of trainings, ``count`` at a time, without doing any of it.

    Args:
        trainings: the parameters of each.
        data: what they train on; None where it is not here yet: then nothing of them is known.
        count: of trainings side by side.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: a parameter does not fit the data.
    """
    names = naming.trainings(trainings, data.name if data else trainings[0].dataset)
    if data is None or not connection.is_there():
        state = UNKNOWN if data is None else NEW
        return Plan(items=[Item(name=name, state=state, seconds=None) for name in names], count=count)
    connection.connect()
    earlier, cores = _earlier(data), max(1, usable_cores() // count)
    items = [_item(name, settings, data, earlier, cores=cores) for name, settings in zip(names, trainings, strict=True)]
    return Plan(items=items, count=count)


def _earlier(data: DataSet) -> list[tuple[dict[str, str], TrackedRun]]:
    """Return the trainings on this data that have ended on a machine such as this one, each behind its kind."""
    found = store.find_runs(f"attributes.status = 'FINISHED' and tags.{schema.DATASET_DIGEST} = '{data.digest}'")
    here = [run for run in found if run.tags.get(schema.MACHINE, "").startswith(lineage.processor())]
    whole = [run for run in here if run.is_training and schema.SECONDS_TRAIN in run.metrics and run.is_evaluated]
    return [(_kind(run.params), run) for run in whole]


def _item(
    name: str,
    settings: Settings,
    data: DataSet,
    earlier: Sequence[tuple[dict[str, str], TrackedRun]],
    *,
    cores: int,
) -> Item:
    existing = resuming.find_run(fingerprints.of(settings, data), settings.data_dir)
    if existing and existing.state is RunState.FINISHED:
        return Item(name=name, state=TAKEN_OVER, seconds=0.0)
    kind = _kind(fingerprints.parameters(settings, data))
    left = settings.epochs - (_epochs_done(existing.run, settings.data_dir) if existing else 0)
    known = [_seconds(run, left, cores) for other, run in earlier if other == kind]
    seconds = statistics.median(known) if known else None
    return Item(name=name, state=_WORDS.get(existing.state, NEW) if existing else NEW, seconds=seconds)


def _kind(parameters: Mapping[str, object]) -> dict[str, str]:
    """Return what trainings share whose epochs take equally long."""
    return {name: str(value) for name, value in parameters.items() if name not in _OF_NO_EPOCH}


def _seconds(run: TrackedRun, epochs: int, cores: int) -> float:
    """Return the seconds that so many epochs of an earlier training, and all around them, would take on so many cores.

    Two cores do in one training about as much as in two trainings with one core each.
    """
    pace = run.metrics[schema.EPOCH_SECONDS]
    whole = run.metrics[schema.SECONDS_TRAIN] + run.metrics.get(schema.SECONDS_EVALUATE, 0.0)
    around = max(0.0, whole - pace * int(run.params["epochs"]))
    return (pace * epochs + around) * int(run.tags.get(schema.CORES, cores)) / cores


def _epochs_done(run: TrackedRun, data_dir: Path) -> int:
    try:
        snapshot = open_store(data_dir, remote=run.has_remote_checkpoint).load(run.checkpoint)
    except DataError:
        return 0
    return len(snapshot.history) if snapshot else 0


def rows(plan: Plan) -> list[list[str]]:
    """Return the lines of a table of a plan."""
    return [[item.name, item.state, duration(item.seconds) if item.seconds else ""] for item in plan.items]


def summary(plan: Plan) -> str:
    """Return how many trainings of which state there are, and about how long they take."""
    states = [item.state for item in plan.items]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    known = [item.seconds for item in plan.items if item.seconds is not None]
    unknown = len(plan.items) - len(known)
    time = f"About {duration(sum(known) / plan.count)}" if any(known) else "Nothing is left to do"
    if unknown:
        reason = "of their kind none has ended here before"
        time = f"{time}, without {unknown} of them: {reason}" if any(known) else f"How long cannot be told: {reason}"
    trainings = f"{len(states)} training{'' if len(states) == 1 else 's'}"
    return f"{trainings}, {plan.count} at a time: {counts}. {time}."
