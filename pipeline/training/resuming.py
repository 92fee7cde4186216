"""Resume runs: checkpoints, from which a run resumes after its last finished epoch; locks; existing runs.

    <data_dir>/checkpoints/<name>/checkpoint.npz   the checkpoint of a run of this machine
    <data_dir>/checkpoints/<name>/.lock            held while a process works on the run
    <data_dir>/.checkpoints.lock                   held while a process looks for an existing run and opens one
    <the run's artifacts>/checkpoint/<attempt>-0.npz and <attempt>-1.npz      machines that share no disk

The tag ``checkpoint`` of a run is its name of 32 hexadecimal digits. A further kind of storage is a class with the
methods of :class:`RemoteCheckpoint`, and a branch in :func:`checkpoint_of`. Storage locks nothing. On one machine, file
locks keep two processes from training the same run; the operating system releases a lock however its process ends. On a
cluster, Ray knows which processes are alive. Existing runs are found by their fingerprint (``identity.py``), a tag.
"""

import io
import json
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from pipeline import disk
from pipeline.data import stored
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord, Snapshot
from pipeline.errors import DataError, TrackingError, UsageError, reason
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, Settings, option
from pipeline.tracking import lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import identity

FILE, FOLDER, LOCK = "checkpoint.npz", "checkpoint", ".lock"

_NAME = re.compile(r"[0-9a-f]{32}")
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def folder_of(data_dir: Path, name: str) -> Path:
    """Return the folder for the checkpoint and the lock of one run on this machine.

    Raises:
        DataError: the name is not from this pipeline, so it must not become a path.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"checkpoint: the run's tag must be a name of 32 hexadecimal digits; got {name!r}. "
            "The pipeline did not write this; train again with --new."
        )
    return data_dir / "checkpoints" / name


def checkpoint_names(data_dir: Path) -> list[str]:
    """Return the names of all runs that have a folder on this machine."""
    return sorted(
        path.name for path in (data_dir / "checkpoints").glob("*") if path.is_dir() and _NAME.fullmatch(path.name)
    )


@dataclass(frozen=True)
class LocalCheckpoint:
    """The checkpoint of a run in a folder of this machine."""

    folder: Path

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint to disk, then replace the previous one.

        Raises:
            DataError: it cannot be written; the previous one is kept.
        """
        path = self.folder / FILE
        try:
            disk.write(path, _packed(snapshot))
        except OSError as error:
            raise DataError(
                f"data_dir: the checkpoint {path} cannot be written: {reason(error)}. Free some space, then repeat the "
                "command: the last checkpoint is kept."
            ) from None

    def load(self) -> Snapshot | None:
        """Return the checkpoint; None if no epoch has finished, or if it is damaged."""
        return _latest(path.read_bytes() for path in self.folder.glob(FILE))

    def remove(self) -> None:
        """Remove the folder, with the lock: the run has finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class RemoteCheckpoint:
    """The checkpoint of a run among its artifacts on the tracking server.

    Two files take turns: whenever a machine stops, one of the two is complete. Each process that trains writes its
    own files, so a process that is still alive after its node was given up overwrites nothing.
    """

    run_id: str
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def save(self, snapshot: Snapshot) -> None:
        """Replace the last but one checkpoint.

        Raises:
            TrackingError: the artifact store refuses it.
        """
        store.write_files(self.run_id, {f"{FOLDER}/{self.attempt}-{len(snapshot.history) % 2}.npz": _packed(snapshot)})

    def load(self) -> Snapshot | None:
        """Return the checkpoint of the last epoch; None if no epoch has finished, or if all files are damaged."""
        return _latest(store.read_files(self.run_id, FOLDER))

    def remove(self) -> None:
        """Remove all files of the checkpoint: the run has finished."""
        store.remove_files(self.run_id, FOLDER)


def checkpoint_of(run: TrackedRun, data_dir: Path) -> LocalCheckpoint | RemoteCheckpoint:
    """Return the checkpoint of a run, where the run's tag says that it is.

    Raises:
        DataError: the tag is not from this pipeline.
    """
    return (
        RemoteCheckpoint(run.run_id)
        if run.has_remote_checkpoint
        else LocalCheckpoint(folder_of(data_dir, run.checkpoint))
    )


def _packed(snapshot: Snapshot) -> bytes:
    """Return a snapshot as a NumPy archive without pickle."""
    log = {"history": [asdict(record) for record in snapshot.history], "seconds": snapshot.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(snapshot.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(snapshot.best_weights)}
    buffer = io.BytesIO()
    np.savez(buffer, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _latest(archives: Iterable[bytes]) -> Snapshot | None:
    """Return the snapshot with the most epochs; damaged archives, whose checksums do not match, are skipped."""
    found = []
    for archive in archives:
        with suppress(*_DAMAGED), np.load(io.BytesIO(archive)) as arrays:
            log = json.loads(arrays["log"].tobytes())
            state, weights = (
                [arrays[name] for name in sorted(arrays) if name.startswith(kind)] for kind in ("state_", "weight_")
            )
            history = [EpochRecord(**record) for record in log["history"]]
            found.append(Snapshot(history=history, state=state, best_weights=weights, seconds=log["seconds"]))
    return max(found, key=lambda snapshot: len(snapshot.history), default=None)


# --- locks ------------------------------------------------------------------------------------------------------------


class LockedError(UsageError):
    """Another process works on the run."""


def hold(data_dir: Path, name: str) -> AbstractContextManager[object]:
    """Acquire the lock of a run on this machine, and return a context that releases it.

    Raises:
        DataError: the name is not from this pipeline, or the lock cannot be written.
        LockedError: another process holds it.
    """
    folder = folder_of(data_dir, name)
    with stored.writable(folder):
        try:
            return FileLock(folder / LOCK).acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"resume: must be an interrupted run; another process is training this one, in {folder}."
            ) from None


def exclusive(data_dir: Path) -> AbstractContextManager[object]:
    """Wait until no other process looks for existing runs, and return a context that keeps them waiting.

    Otherwise two processes would both find none.

    Raises:
        DataError: the lock cannot be written.
    """
    with stored.writable(data_dir):
        return FileLock(data_dir / f".checkpoints{LOCK}").acquire()


def is_held(data_dir: Path, name: str) -> bool:
    """Return whether a process of this machine works on the run."""
    try:
        with hold(data_dir, name) if folder_of(data_dir, name).is_dir() else nullcontext():
            return False
    except LockedError:
        return True


# --- existing runs ----------------------------------------------------------------------------------------------------


class RunState(StrEnum):
    """What a command does with an existing run; of several runs the first in this order counts."""

    FINISHED = "reused"
    RUNNING = "running in another process"
    INTERRUPTED = "resumed"
    NEW = "new"


def find_run(
    fingerprint: str, data_dir: Path, *, remote: bool = False, evaluate: bool = True
) -> tuple[TrackedRun | None, RunState]:
    """Return the run of the active experiment with a fingerprint that is closest to its end, and its state.

    If the state is NEW, there is no run to reuse or to resume; the returned one may be a run that a search has pruned.

    Args:
        fingerprint: the fingerprint.
        data_dir: the folder with the checkpoints of the interrupted runs of this machine.
        remote: find interrupted runs of a cluster instead.
        evaluate: whether a finished run must have been evaluated.
    """
    runs = store.find_runs(f"tags.{schema.FINGERPRINT} = '{fingerprint}'")
    states = [(run, _state(run, data_dir, remote=remote, evaluate=evaluate)) for run in runs]
    found = [(run, state) for run, state in states if state]
    return min(found, key=lambda each: [*RunState].index(each[1]), default=(None, RunState.NEW))


def _state(run: TrackedRun, data_dir: Path, *, remote: bool, evaluate: bool) -> RunState | None:
    """Return the state of a run with the same fingerprint; None if it is of no use."""
    if run.status == "FINISHED" and not run.is_trained:  # it was pruned, or it is a comparison or a search
        return RunState.NEW if run.is_pruned else None
    if run.status == "FINISHED" and (run.is_evaluated or not evaluate):
        return RunState.FINISHED
    if run.status != "FINISHED" and run.has_remote_checkpoint != remote:  # it may be running elsewhere
        return None
    with suppress(DataError, OSError):
        if not remote and is_held(data_dir, run.checkpoint):
            return RunState.RUNNING
        check_resumable(run, data_dir)
        return RunState.INTERRUPTED
    return None


def check_resumable(run: TrackedRun, data_dir: Path) -> None:
    """Check that the checkpoint of an interrupted run can be loaded, before anything is written on the run.

    Raises:
        DataError: the run was started elsewhere, or its checkpoint is lost or damaged.
    """
    if run.is_trained:
        return
    is_here = run.has_remote_checkpoint or folder_of(data_dir, run.checkpoint).is_dir()
    if not is_here or (schema.COST in run.metrics and checkpoint_of(run, data_dir).load() is None):
        raise DataError(
            f"data_dir: the checkpoint of run {run.run_id} is not in {data_dir}, or it is damaged. "
            "Resume on the machine and with the data_dir where it was started, or train again with --new."
        )


@contextmanager
def open_run(
    kind: str,
    name: str,
    fingerprint: str,
    data: DataSet,
    parameters: Mapping[str, object],
    *,
    data_dir: Path,
    resume: TrackedRun | None,
    remote: bool,
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
) -> Iterator[TrackedRun]:
    """Open a run that can be resumed, lock it, and log its parameters; remove its checkpoint when it has finished.

    Args:
        kind: kind of a new run, from :mod:`pipeline.tracking.schema`.
        name: name of a new run.
        fingerprint: fingerprint by which it is found again.
        data: the data that it trains on.
        parameters: its parameters by name.
        data_dir: the folder of checkpoints and locks.
        resume: the run to resume; None: a new one.
        remote: whether its processes share no disk: no lock, and the checkpoint is an artifact.
        tags: further tags, which are also set if it is resumed.
        parent: the id of the comparison or search that trains it; it is the parent of a new run.
    """
    checkpoint, tags = resume.checkpoint if resume else uuid.uuid4().hex, dict(tags or {})
    if parent:
        tags[f"{schema.MEMBER_OF}{parent}"] = "true"
    if not resume:
        tags |= schema.of_kind(kind) | {schema.DATASET: data.name, schema.DATASET_DIGEST: data.digest}
        tags |= {schema.FINGERPRINT: fingerprint, schema.CHECKPOINT: schema.ON_SERVER if remote else checkpoint}
    with nullcontext() if remote else hold(data_dir, checkpoint):
        with lifecycle.open_run(name, tags, parent=parent, resume=resume) as run:
            store.log_parameters(run, parameters)
            lifecycle.log_input(run.run_id, data, "training")
            yield run
        checkpoint_of(run, data_dir).remove()


def find_earlier(
    settings: Settings, data: DataSet, reporter: Reporter, *, evaluate: bool
) -> tuple[TrackedRun | None, RunState]:
    """Return the finished or interrupted run that a command uses instead of a new one, and its state; report it.

    Args:
        settings: the parameters of the command.
        data: the data that it trains on.
        reporter: shows which run is reused or resumed, and how to train again.
        evaluate: whether an evaluation is part of the command.
    """
    run, state = find_run(identity.fingerprint(settings, data), settings.data_dir, evaluate=evaluate)
    if run is None or state is RunState.NEW:
        return None, state
    again, in_project = f"{option('new', True)} trains again.", lifecycle.project_run()
    same = f"Run {run.run_id} with the same fingerprint"
    notes = {
        RunState.FINISHED: f"Already trained as run {run.run_id}; {again}",
        RunState.RUNNING: f"{same} is running in another process. This is a new run.",
        RunState.INTERRUPTED: f"{same} was interrupted"
        + (f". To resume it: -P resume={run.run_id}." if in_project else f": resuming it. {again}"),
    }
    reporter.note(notes[state])
    is_used = state is RunState.FINISHED or (state is RunState.INTERRUPTED and not in_project)
    return run if is_used else None, state


def resumed(run_id: str, given: Settings, *, evaluate: bool) -> tuple[TrackedRun, Settings, DataSet]:
    """Return an interrupted run that the user named, its parameters and its data.

    Args:
        run_id: the id of the run.
        given: ``data_dir`` is taken from here; other parameters must not differ from the run's.
        evaluate: whether an evaluation is part of the command.

    Raises:
        DataError: its data or its checkpoint is not here.
        TrackingError: there is no such run, or it is not a training run.
        UsageError: it has finished, was started by other code, may still be running, or has other parameters.
    """
    run = store.get_run(run_id)
    if schema.FINGERPRINT not in run.tags or not run.is_training:
        raise TrackingError(f"resume: must be a training run of this pipeline; run {run_id} is not one.")
    if run.status == "FINISHED" and (run.is_evaluated if evaluate else run.is_trained):
        raise UsageError(f"resume: must be the ID of an interrupted run; run {run_id} has finished.")
    if run.has_remote_checkpoint and run.status == "RUNNING":
        raise UsageError(
            f"resume: must be the ID of an interrupted run; a cluster may be training run {run_id}. "
            "Repeat its comparison with --on ray to resume it there."
        )
    settings = _settings_of(run, given)
    data = stored.find_by_digest(settings.data_dir, run.tags[schema.DATASET], run.tags[schema.DATASET_DIGEST])
    if identity.fingerprint(settings, data) != run.tags[schema.FINGERPRINT]:
        raise UsageError(
            f"resume: run {run_id} was started with other code, or another TensorFlow version, than is installed here. "
            "Its numbers would change halfway; train again with --new."
        )
    check_resumable(run, settings.data_dir)
    return run, settings, data


def _settings_of(run: TrackedRun, given: Settings) -> Settings:
    """Return the parameters that a run has logged; only those that name the data may differ: its digest finds it."""
    logged = {each.name: run.params[each.name] for each in fields(Settings) if each.name in run.params}
    settings, default = Settings.of(logged | {"dataset": given.dataset}), Settings()
    for name in (given.given or {}).keys() - DATA_PARAMETERS:
        value, of_run = getattr(given, name), getattr(settings, name)
        if value not in (of_run, getattr(default, name)):  # `mlflow run` also passes on defaults
            raise UsageError(f"{name}: must be {of_run}, as in the run to be resumed; got {value}. Leave it out.")
    return settings if given.data_dir == default.data_dir else replace(settings, data_dir=given.data_dir)
