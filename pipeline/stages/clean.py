"""Remove checkpoints and processed data that are no longer needed, and end runs whose process was killed.

pipeline clean --dry-run
pipeline clean

It removes nothing that another process uses, and no checkpoint of an unknown run: it may belong to another store.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline import disk
from pipeline.data import processed
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.stages.runs import is_interrupted
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training.checkpoints import LocalCheckpoints, RemoteCheckpoints
from pipeline.training.locks import LockedError, RunLocks

ERROR = "Its process was killed; `pipeline clean` ended the run."


class Item(NamedTuple):
    """Something to remove: its name, the reason, its size in bytes, the lock it needs, and how to remove it."""

    what: str
    reason: str
    size: int
    lock: str | None
    remove: Callable[[], object]


def clean(reporter: Reporter, *, data_dir: Path, dry_run: bool) -> list[str]:
    """Remove what is no longer needed; return the names of what was removed.

    Args:
        reporter: shows what is removed, and why.
        data_dir: folder of data and of checkpoints.
        dry_run: only show what would be removed.

    Raises:
        DataError: a folder cannot be written to.
        TrackingError: the tracking server does not answer.
    """
    data_dir, removed, freed = expanded(data_dir), [], 0
    locks = RunLocks(data_dir)
    for item in _items(data_dir, locks, reporter):
        with suppress(LockedError), locks.hold(item.lock) if item.lock else nullcontext():
            if not dry_run:
                item.remove()
            removed.append(item.what)
            freed += item.size
            size = f", {disk.shown(item.size)}" if item.size else ""
            reporter.note(f"{'Would clean' if dry_run else 'Cleaned'} {item.what}: {item.reason}{size}.")
    total = f"That would free {disk.shown(freed)}. Leave out --dry-run to do it." if dry_run else ""
    reporter.result((total or f"Freed {disk.shown(freed)}.") if removed else "There is nothing to clean.")
    return removed


def _items(data_dir: Path, locks: RunLocks, reporter: Reporter) -> Iterator[Item]:
    checkpoints, known = LocalCheckpoints(data_dir), _known_runs(reporter)
    finished, names = {_identity(run) for run in known if _has_finished(run)}, checkpoints.names()
    free = {name for name in names if not locks.is_held(name)}
    for run in known:
        if not run.is_deleted and is_interrupted(run, locks):
            end = partial(lifecycle.mark_failed, run.run_id, ERROR, status="KILLED")
            reason = "its status is RUNNING, but no process works on it; it can still be resumed"
            yield Item(f"run {run.run_id} ({run.name}), to KILLED", reason, 0, run.checkpoint, end)
        if reason := _reason(run, finished):
            yield from _checkpoint(run, reason, checkpoints, free)
    if unknown := len(free - {run.checkpoint for run in known}):
        reporter.note(f"{unknown} checkpoints stay: this store does not have their runs, but another one may.")
    if len(free) < len(names):
        reporter.note("Processed data stays: a run is training.")
        return
    for folder in processed.superseded(data_dir):
        remove = partial(processed.remove_superseded, folder, data_dir, reporter)
        reason = "another version of the code made it, and it can be made again"
        yield Item(str(folder), reason, disk.size(folder), None, remove)


def _known_runs(reporter: Reporter) -> list[TrackedRun]:
    if not connection.is_there():
        return []
    connection.connect(reporter.note)
    return store.find_runs(f"tags.{schema.CHECKPOINT} != ''", everywhere=True)


def _checkpoint(run: TrackedRun, reason: str, checkpoints: LocalCheckpoints, free: set[str]) -> Iterator[Item]:
    """Yield the checkpoint of a run, if it exists and no process of this machine uses it."""
    what = f"checkpoint {run.checkpoint} of {run.name}"
    if run.checkpoint in free:
        remove = partial(checkpoints.remove, run.checkpoint)
        yield Item(what, reason, checkpoints.size(run.checkpoint), run.checkpoint, remove)
    elif run.tags[schema.CHECKPOINT] == schema.ON_SERVER and (size := RemoteCheckpoints().size(run.run_id)):
        yield Item(what, reason, size, None, partial(RemoteCheckpoints().remove, run.run_id))


def _reason(run: TrackedRun, finished: set[tuple[str, str | None]]) -> str:
    """Return why the checkpoint of a run is no longer needed; an empty text if it is needed."""
    if run.is_deleted:
        return "its run was deleted"
    if run.status == "FINISHED":
        return "its run has finished"
    return "another run of the same training has finished" if _identity(run) in finished else ""


def _has_finished(run: TrackedRun) -> bool:
    """Return whether a run is complete; a training run is complete once it is evaluated."""
    return run.status == "FINISHED" and not run.is_deleted and (run.is_evaluated or not run.is_training)


def _identity(run: TrackedRun) -> tuple[str, str | None]:
    return run.experiment_id, run.tags.get(schema.FINGERPRINT)
