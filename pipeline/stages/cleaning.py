"""What is of no use any more, and can go: each with the reason, its size, and how it goes.

Nothing is touched that another process is at, that is not the pipeline's, or
that the store knows nothing of: it may be another store's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import disk
from pipeline.data import processed
from pipeline.errors import UsageError
from pipeline.progress import Reporter
from pipeline.stages import environments, listing
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training.checkpoints import LocalCheckpoints
from pipeline.training.locks import RunLocks
from pipeline.training.remote_checkpoints import FOLDER, RemoteCheckpoints

LEFT = "Its process ended without marking the run; `pipeline clean` did."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that can go.

    Attributes:
        what: it is.
        reason: that it can go for.
        size: in bytes.
        go: lets it go; returns whether it did: another process may have come to need it.
    """

    what: str
    reason: str
    size: int
    go: Callable[[], bool]


def find(data_dir: Path, reporter: Reporter) -> list[Finding]:
    """Return all that can go of a folder of data, of the runs that were begun in it, and of MLflow's environments.

    Args:
        data_dir: the folder of data.
        reporter: told what is left alone, and why.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    checkpoints, locks = LocalCheckpoints(data_dir), RunLocks(data_dir)
    known = _runs(reporter)
    return [
        *_runs_left(known, locks),
        *_checkpoints(known, checkpoints, locks, reporter),
        *_remote_checkpoints(known),
        *_processed(data_dir, checkpoints, locks, reporter),
        *_environments(reporter),
    ]


def _runs(reporter: Reporter) -> list[TrackedRun]:
    if not connection.is_there():
        return []
    connection.connect(reporter.note)
    return store.find_runs(f"tags.{schema.CHECKPOINT} != ''", everywhere=True)


def _runs_left(known: list[TrackedRun], locks: RunLocks) -> Iterator[Finding]:
    for run in known:
        if not run.is_deleted and listing.was_left(run, locks):
            yield Finding(
                what=f"run {run.run_id} ({run.name}), to KILLED",
                reason="it says RUNNING, and no process is at it; it can still go on",
                size=0,
                go=partial(_end, run, locks),
            )


def _end(run: TrackedRun, locks: RunLocks) -> bool:
    return _while_held(run.checkpoint, locks, lambda: lifecycle.mark_failed(run.run_id, LEFT, status="KILLED"))


def _checkpoints(
    known: list[TrackedRun], checkpoints: LocalCheckpoints, locks: RunLocks, reporter: Reporter
) -> Iterator[Finding]:
    by_checkpoint = {run.tags[schema.CHECKPOINT]: run for run in known}
    ended, unknown = _fingerprints_of_ended(known), 0
    for name in checkpoints.names():
        run = by_checkpoint.get(name)
        if run is None:
            unknown += not locks.is_held(name)
        elif (reason := _reason(run, ended)) and not locks.is_held(name):
            go = partial(_while_held, name, locks, partial(checkpoints.remove, name))
            yield Finding(what=f"checkpoint {name} of {run.name}", reason=reason, size=checkpoints.size(name), go=go)
    if unknown:
        reporter.note(f"{unknown} checkpoints stay: this store has no run of theirs, but another store may.")


def _remote_checkpoints(known: list[TrackedRun]) -> Iterator[Finding]:
    """Find checkpoints that are files of their runs; a run whose files were removed says so, and is not asked for."""
    ended = _fingerprints_of_ended(known)
    for run in known:
        if run.tags[schema.CHECKPOINT] != schema.ON_SERVER or not (reason := _reason(run, ended)):
            continue
        if (size := sum(store.files_in(run.run_id, FOLDER).values())) and (run.status != "RUNNING" or run.is_deleted):
            go = partial(_done, partial(RemoteCheckpoints().remove, run.run_id))
            yield Finding(what=f"checkpoint of run {run.run_id} ({run.name})", reason=reason, size=size, go=go)


def _done(go: Callable[[], None]) -> bool:
    go()
    return True


def _fingerprints_of_ended(known: list[TrackedRun]) -> set[tuple[str, str | None]]:
    return {(run.experiment_id, run.tags.get(schema.FINGERPRINT)) for run in known if _has_ended(run)}


def _has_ended(run: TrackedRun) -> bool:
    return run.status == "FINISHED" and not run.is_deleted and (run.is_evaluated or not run.is_training)


def _reason(run: TrackedRun, ended: set[tuple[str, str | None]]) -> str:
    """Return why the checkpoint of a run is not needed any more; nothing if it is."""
    if run.is_deleted:
        return "its run was deleted"
    if run.status == "FINISHED":
        return "its run has ended"
    return (
        "another run has done the same training"
        if (run.experiment_id, run.tags.get(schema.FINGERPRINT)) in ended
        else ""
    )


def _while_held(name: str, locks: RunLocks, go: Callable[[], None]) -> bool:
    """Do something to a checkpoint while it is held against other processes; return whether it could be held."""
    try:
        with locks.hold(name):
            go()
    except UsageError:  # somebody is at it
        return False
    return True


def _processed(data_dir: Path, checkpoints: LocalCheckpoints, locks: RunLocks, reporter: Reporter) -> Iterator[Finding]:
    found = processed.superseded(data_dir)
    if found and any(map(locks.is_held, checkpoints.names())):
        reporter.note("Processed data stays: a training is under way.")
        return
    for folder in found:

        def go(folder: Path = folder) -> bool:
            processed.remove_superseded(folder, data_dir, reporter)
            return True

        reason = "other code has made it; the code that is here would make it anew"
        yield Finding(what=str(folder), reason=reason, size=disk.size(folder), go=go)


def _environments(reporter: Reporter) -> Iterator[Finding]:
    for environment in environments.find():
        if environments.in_use(environment):
            reporter.note(f"{environment} stays: a process works in it.")
            continue

        def go(environment: Path = environment) -> bool:
            environments.remove(environment)
            return True

        reason = "`mlflow run` has built it, and builds it anew when it is needed"
        yield Finding(what=str(environment), reason=reason, size=disk.size(environment), go=go)
