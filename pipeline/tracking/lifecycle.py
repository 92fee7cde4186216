"""How a run begins and how it ends: well, by a failure, by an interruption, or given up to another process.

A run that ``mlflow run`` has opened for us (``MLFLOW_RUN_ID``) is continued; otherwise one is made. What a run holds is
in ``store.py``.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.system_metrics import set_system_metrics_samples_before_logging, set_system_metrics_sampling_interval
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import PipelineError, TrackingError
from pipeline.tracking import schema, ui
from pipeline.tracking.connection import BRIEF, client, environment, retried
from pipeline.tracking.schema import TrackedRun
from pipeline.tracking.store import get_run, log_tags

STOPPED = "Stopped by Ctrl-C or a termination signal."
"""Why a run was killed, in its tag ``error``."""

SAMPLE_SECONDS = 1  # of the system metrics: MLflow's own 10 s leave a short run without any
NAMED_BY_MLFLOW = re.compile(r"[a-z]+-[a-z]+-\d+")  # such as clumsy-fish-12; a person's --run-name stays

_attached: dict[str, str] = {}


class TakenError(TrackingError):
    """Another process has taken a run over, because this one was given up: nothing more is logged on it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} was given up here, and another process has taken it over.")


def always() -> bool:
    """Answer that a run is this process's."""
    return True


@contextmanager
def attached(path: str, text: str) -> Iterator[None]:
    """Let every run that this process opens within the block hold a text as the artifact ``path``."""
    _attached[path] = text
    try:
        yield
    finally:
        del _attached[path]


@contextmanager
def open_run(
    name: str,
    tags: Mapping[str, str],
    *,
    parent: str | None = None,
    resume: str | None = None,
    is_ours: Callable[[], bool] = always,
) -> Iterator[str]:
    """Open a run, or continue one, and yield its id.

    It ends as FINISHED; as KILLED on Ctrl-C; as FAILED when anything is raised, but for :class:`TakenError`.
    The tag ``error`` holds the reason. System metrics are sampled throughout.

    Args:
        name: of the run; the one that a person gave to ``mlflow run`` stays.
        tags: that it has from the moment it is there.
        parent: the id of the run that it belongs under.
        resume: the id of the run to continue. None: that of ``mlflow run``, if it has opened one; otherwise a new run.
        is_ours: tells whether no other process has taken the run over: then it ends as that says.

    Raises:
        TakenError: another process has.
    """
    with _project_remembered():
        try:
            run_id = _started(name, tags, parent, resume)
            _begin(get_run(run_id))
            yield run_id
            if not is_ours():
                raise TakenError(run_id)
        except BaseException as error:
            _end(error, is_ours)
            raise
        try:
            client().set_terminated(run_id)
        finally:
            _leave("FINISHED")


def _project_remembered() -> AbstractContextManager[None]:
    """Keep what names the run of ``mlflow run``: MLflow drops it when any run ends."""
    project = os.environ.get("MLFLOW_RUN_ID")
    return environment({"MLFLOW_RUN_ID": project}) if project else nullcontext()


def _started(name: str, tags: Mapping[str, str], parent: str | None, resume: str | None) -> str:
    """Make a run, or that to be continued, the active one; return its id."""
    set_system_metrics_sampling_interval(SAMPLE_SECONDS)  # type: ignore[no-untyped-call]
    set_system_metrics_samples_before_logging(1)  # type: ignore[no-untyped-call]
    run = retried(
        mlflow.start_run,  # given the project's run by hand: MLflow forgets it with its first attempt
        run_id=resume or os.environ.get("MLFLOW_RUN_ID"),
        run_name=None if resume else _run_name(name),
        parent_run_id=parent,
        tags=dict(tags),
        log_system_metrics=True,
    )
    return str(run.info.run_id)


def _begin(run: TrackedRun) -> None:
    ui.describe_experiment(run.experiment_id)
    if schema.ERROR in run.tags:
        client().delete_tag(run.run_id, schema.ERROR)  # of the attempt before
    for path, text in _attached.items():
        client().log_text(run.run_id, text, path)


def _end(error: BaseException, is_ours: Callable[[], bool]) -> None:
    """End the active run, if one was opened, before its time, as well as a server that may be the reason takes it."""
    status, reason = "FAILED", str(error) or repr(error)
    if isinstance(error, KeyboardInterrupt):
        # `mlflow run` (3.17) writes FAILED over any status when it is interrupted; the tag says what it was.
        status, reason = "KILLED", STOPPED
    run_id, taken = active_run(), isinstance(error, TakenError)
    if run_id is None:
        return
    with in_haste():
        taken = not is_ours()
    if taken:
        _leave(_status_of(run_id))
        return
    with in_haste():
        client().set_tag(run_id, schema.ERROR, reason)
    with in_haste():
        client().set_terminated(run_id, status)
    _leave(status)


def _status_of(run_id: str) -> str:
    """Return the status of a run that another process has taken over."""
    with in_haste():
        return get_run(run_id).status
    return "RUNNING"


def _leave(status: str) -> None:
    """Let the active run no longer be this process's, whether the server takes its end or not.

    MLflow's own end of a run cannot be repeated: it forgets the run with its first attempt.
    """
    with in_haste():
        mlflow.end_run(status)


@contextmanager
def in_haste() -> Iterator[None]:
    """Do without what the tracking server does not take within seconds."""
    with suppress(PipelineError, MlflowException, OSError, SQLAlchemyError), environment(BRIEF):
        yield


def mark_failed(run_id: str, reason: str, *, status: str = "FAILED") -> None:
    """End a run whose process could not, because it died."""
    if get_run(run_id).status == "RUNNING":
        client().set_tag(run_id, schema.ERROR, reason)
        client().set_terminated(run_id, status)


def begin_run(name: str, tags: Mapping[str, str], *, parent: str | None = None) -> str:
    """Make a run for :func:`open_run` to continue; return its id, or that of the run that ``mlflow run`` has made."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        log_tags(run_id, tags)
        return run_id
    run_id = retried(mlflow.start_run, run_name=name, parent_run_id=parent, tags=dict(tags)).info.run_id
    retried(mlflow.end_run, "RUNNING")
    return str(run_id)


def create_child(parent: str, name: str, tags: Mapping[str, str]) -> str:
    """Make a run below another one, beside the active one, and return its id."""
    experiment = get_run(parent).experiment_id
    made = client().create_run(experiment, run_name=name, tags={**tags, schema.PARENT: parent})
    return str(made.info.run_id)


def end(run_id: str) -> None:
    """End a run that :func:`create_child` has made."""
    client().set_terminated(run_id)


def delete_run(run_id: str) -> None:
    """Delete a run; MLflow keeps it among the deleted ones."""
    client().delete_run(run_id)


def discard_run(run_id: str) -> None:
    """End and delete a run that ``mlflow run`` opened for a command whose results are not its own.

    It has ended before it is deleted: ``mlflow run`` does not change a run that has ended.
    """
    end(run_id)
    delete_run(run_id)


def active_run() -> str | None:
    """Return the id of the run that is active in this process, if there is one."""
    run = mlflow.active_run()
    return str(run.info.run_id) if run else None


def in_project_run() -> bool:
    """Return whether ``mlflow run`` has opened a run for this process."""
    return "MLFLOW_RUN_ID" in os.environ


def _run_name(name: str) -> str:
    """Return ``name``, or the name that a person gave the run of ``mlflow run``."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    given = get_run(run_id).name if run_id else None
    return given if given and not NAMED_BY_MLFLOW.fullmatch(given) else name
