"""Remove checkpoints and processed data that are no longer needed, and end runs whose process was killed.

pipeline clean --dry-run
pipeline clean

Nothing is touched that another process uses, or that the store knows nothing of: it may belong to another store.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pipeline.training.checkpoints import LocalCheckpoints
from pipeline.training.locks import LockedError, RunLocks
from pipeline.training.remote_checkpoints import FOLDER, RemoteCheckpoints

ERROR = "Its process was killed; `pipeline clean` ended the run."


class Item(NamedTuple):
    """Something that can be removed: what it is, why, its size in bytes, the lock it needs, and how."""

    what: str
    reason: str
    size: int
    lock: str | None
    remove: Callable[[], object]


def clean(reporter: Reporter, *, data_dir: Path, dry_run: bool) -> list[str]:
    """Remove what is no longer needed; return what it was.

    Args:
        reporter: shows what is removed, and why.
        data_dir: folder of data and of checkpoints.
        dry_run: only show what would be removed.

    Raises:
        DataError: a folder cannot be written to.
        TrackingError: the tracking server does not answer.
    """
    data_dir, removed, freed = expanded(data_dir), [], 0
    for item in _items(data_dir, reporter):
        if dry_run or _done(item, RunLocks(data_dir)):
            removed.append(item.what)
            freed += item.size
            size = f", {disk.shown(item.size)}" if item.size else ""
            reporter.note(f"{'Would clean' if dry_run else 'Cleaned'} {item.what}: {item.reason}{size}.")
    total = f"That would free {disk.shown(freed)}. Leave out --dry-run to do it." if dry_run else ""
    reporter.result((total or f"Freed {disk.shown(freed)}.") if removed else "There is nothing to clean.")
    return removed


def _done(item: Item, locks: RunLocks) -> bool:
    """Remove something; return False if another process has started to use it."""
    if item.lock is None:
        item.remove()
        return True
    try:
        with locks.hold(item.lock):
            item.remove()
    except LockedError:
        return False
    return True


def _items(data_dir: Path, reporter: Reporter) -> Iterator[Item]:
    locks, known = RunLocks(data_dir), _known_runs(reporter)
    reasons = _reasons(known)
    for run in known:
        if not run.is_deleted and is_interrupted(run, locks):
            end = partial(lifecycle.mark_failed, run.run_id, ERROR, status="KILLED")
            reason = "its status is RUNNING, but no process works on it; it can still be resumed"
            yield Item(f"run {run.run_id} ({run.name}), to KILLED", reason, 0, run.checkpoint, end)
    yield from _local_checkpoints(known, reasons, data_dir, reporter)
    yield from _remote_checkpoints(known, reasons)
    if any(locks.is_held(name) for name in LocalCheckpoints(data_dir).names()):
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


def _local_checkpoints(
    known: Sequence[TrackedRun], reasons: Mapping[str, str], data_dir: Path, reporter: Reporter
) -> Iterator[Item]:
    checkpoints, locks = LocalCheckpoints(data_dir), RunLocks(data_dir)
    runs = {run.tags[schema.CHECKPOINT]: run for run in known}
    free = [name for name in checkpoints.names() if not locks.is_held(name)]
    for name in free:
        if name in runs and (reason := reasons.get(runs[name].run_id)):
            remove = partial(checkpoints.remove, name)
            yield Item(f"checkpoint {name} of {runs[name].name}", reason, checkpoints.size(name), name, remove)
    if unknown := sum(name not in runs for name in free):
        reporter.note(f"{unknown} checkpoints stay: this store does not have their runs, but another one may.")


def _remote_checkpoints(known: Sequence[TrackedRun], reasons: Mapping[str, str]) -> Iterator[Item]:
    for run in known:
        if run.tags[schema.CHECKPOINT] != schema.ON_SERVER or not (reason := reasons.get(run.run_id)):
            continue
        if size := sum(store.files_in(run.run_id, FOLDER).values()):
            remove = partial(RemoteCheckpoints().remove, run.run_id)
            yield Item(f"checkpoint of run {run.run_id} ({run.name})", reason, size, None, remove)


def _reasons(known: Sequence[TrackedRun]) -> dict[str, str]:
    """Return why checkpoints are no longer needed, by the ids of their runs; a training is done once evaluated."""
    finished = {
        (run.experiment_id, run.tags.get(schema.FINGERPRINT))
        for run in known
        if run.status == "FINISHED" and not run.is_deleted and (run.is_evaluated or not run.is_training)
    }
    reasons = {}
    for run in known:
        if run.is_deleted:
            reasons[run.run_id] = "its run was deleted"
        elif run.status == "FINISHED":
            reasons[run.run_id] = "its run has finished"
        elif (run.experiment_id, run.tags.get(schema.FINGERPRINT)) in finished:
            reasons[run.run_id] = "another run of the same training has finished"
    return reasons
