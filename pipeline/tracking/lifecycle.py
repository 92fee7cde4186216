"""How a run starts and how it ends: finished, failed or killed.

If ``mlflow run`` has opened a run for this process (``MLFLOW_RUN_ID``), that one is used. What a run holds is in
``store.py``.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.system_metrics import set_system_metrics_samples_before_logging, set_system_metrics_sampling_interval
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import PipelineError
from pipeline.tracking import schema, ui
from pipeline.tracking.connection import BRIEF, client, environment, retried
from pipeline.tracking.schema import TrackedRun
from pipeline.tracking.store import get_run, log_tags

STOPPED = "Stopped by Ctrl-C or a termination signal."
"""The tag ``error`` of a run that was killed."""

SAMPLE_SECONDS = 1  # of the system metrics: MLflow's own 10 s leave a short run without any
NAMED_BY_MLFLOW = re.compile(r"[a-z]+-[a-z]+-\d+")  # such as clumsy-fish-12; a user's --run-name stays

_attached: dict[str, str] = {}


@contextmanager
def attached(path: str, text: str) -> Iterator[None]:
    """Log a text as the artifact ``path`` of every run that this process opens within the block."""
    _attached[path] = text
    try:
        yield
    finally:
        del _attached[path]


@contextmanager
def open_run(
    name: str, tags: Mapping[str, str], *, parent: str | None = None, resume: TrackedRun | None = None
) -> Iterator[TrackedRun]:
    """Open a new run, the one that ``mlflow run`` has opened, or one to resume; give it as it is then.

    It ends as FINISHED; as KILLED on Ctrl-C; as FAILED on any other exception. The tag ``error`` holds the reason.
    System metrics are sampled throughout.

    Args:
        name: of a new run; a name that the user gave to ``mlflow run`` stays.
        tags: set when the run is opened.
        parent: the id of the parent run.
        resume: the run to resume.
    """
    project = project_run()
    with environment({"MLFLOW_RUN_ID": project}) if project else nullcontext():  # MLflow drops it when a run ends
        try:
            run = _started(name, tags, parent, resume)
            yield run
        except BaseException as error:
            _end_early(error)
            raise
        try:
            client().set_terminated(run.run_id)
        finally:
            _detach("FINISHED")


def _started(name: str, tags: Mapping[str, str], parent: str | None, resume: TrackedRun | None) -> TrackedRun:
    """Make a run the active one, and return it."""
    set_system_metrics_sampling_interval(SAMPLE_SECONDS)  # type: ignore[no-untyped-call]
    set_system_metrics_samples_before_logging(1)  # type: ignore[no-untyped-call]
    started = retried(
        mlflow.start_run,  # given the project's run explicitly: MLflow forgets it with its first attempt
        run_id=resume.run_id if resume else project_run(),
        run_name=None if resume else _run_name(name),
        parent_run_id=parent,
        tags=dict(tags),
        log_system_metrics=True,
    )
    run = get_run(started.info.run_id)
    ui.describe_experiment(run.experiment_id)
    if schema.ERROR in run.tags:
        client().delete_tag(run.run_id, schema.ERROR)
    for path, text in _attached.items():
        client().log_text(run.run_id, text, path)
    return run


def _end_early(error: BaseException) -> None:
    """End the active run, if there is one, with the reason; without waiting for a server that may be the reason."""
    status, reason = "FAILED", str(error) or repr(error)
    if isinstance(error, KeyboardInterrupt):
        # `mlflow run` (3.17) writes FAILED over any status when it is interrupted; the tag says what it was.
        status, reason = "KILLED", STOPPED
    if run_id := active_run():
        with best_effort():
            client().set_tag(run_id, schema.ERROR, reason)
        with best_effort():
            client().set_terminated(run_id, status)
        _detach(status)


def _detach(status: str) -> None:
    """Let no run be active in this process, even if the server does not answer.

    MLflow's own end of a run cannot be repeated: it forgets the run with its first attempt.
    """
    with best_effort():
        mlflow.end_run(status)


@contextmanager
def best_effort() -> Iterator[None]:
    """Skip what the tracking server does not accept within seconds."""
    with suppress(PipelineError, MlflowException, OSError, SQLAlchemyError), environment(BRIEF):
        yield


def mark_failed(run_id: str, reason: str, *, status: str = "FAILED") -> None:
    """End a run whose process died."""
    if get_run(run_id).status == "RUNNING":
        client().set_tag(run_id, schema.ERROR, reason)
        client().set_terminated(run_id, status)


def create_child(parent: str, name: str, tags: Mapping[str, str]) -> str:
    """Create a child run without making it the active one; return its id."""
    experiment = get_run(parent).experiment_id
    made = client().create_run(experiment, run_name=name, tags={**tags, schema.PARENT: parent})
    return str(made.info.run_id)


def end(run_id: str) -> None:
    """Finish a run that :func:`create_child` has made."""
    client().set_terminated(run_id)


def delete_run(run_id: str) -> None:
    """Delete a run; MLflow keeps it among the deleted runs."""
    client().delete_run(run_id)


def describe_stage_run(run_id: str, name: str, parent: str | None) -> None:
    """Name and tag a run that ``mlflow run`` opened for a command whose results are elsewhere.

    Deleting it would make ``mlflow run`` fail, which ends it afterwards.

    Args:
        run_id: of that run.
        name: of the command; a name that the user gave stays.
        parent: the run with the results, if they are in one; the UI shows this run below it.
    """
    client().update_run(run_id, name=_run_name(name))
    log_tags(run_id, schema.of_kind(schema.STAGE) | ({schema.PARENT: parent} if parent else {}))


def active_run() -> str | None:
    """Return the id of the run that is active in this process, if there is one."""
    run = mlflow.active_run()
    return str(run.info.run_id) if run else None


def project_run() -> str | None:
    """Return the id of the run that ``mlflow run`` has opened for this process, if it has."""
    return os.environ.get("MLFLOW_RUN_ID")


def _run_name(name: str) -> str:
    """Return ``name``, or the name that the user gave to ``mlflow run``."""
    project = project_run()
    given = get_run(project).name if project else None
    return given if given and not NAMED_BY_MLFLOW.fullmatch(given) else name
