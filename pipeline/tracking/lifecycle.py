"""Start and end a run; log its data and environment, and its description for MLflow's UI.

If ``mlflow run`` has opened a run for this process (``MLFLOW_RUN_ID``), that run is used. ``store.py`` reads and
writes the content of runs.
"""

import json
import os
import platform
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.git_utils import get_git_commit
from sqlalchemy.exc import SQLAlchemyError

from pipeline import __version__
from pipeline.errors import PipelineError, UsageError
from pipeline.tracking import connection, schema
from pipeline.tracking.connection import BRIEF, client, environment, retried
from pipeline.tracking.schema import TrackedRun
from pipeline.tracking.store import get_run, log_tags, tracked

if TYPE_CHECKING:
    from pipeline.data.splits import DataSet

STOPPED = "Stopped by Ctrl-C or a termination signal."
"""The tag ``error`` of a run that was killed."""

NAMED_BY_MLFLOW = re.compile(r"[a-z]+-[a-z]+-\d+")  # such as clumsy-fish-12; a user's --run-name stays

RECORDED_PACKAGES = ("tensorflow", "keras", "mlflow", "numpy", "pandas", "scikit-learn")
CHECKOUT = Path(__file__).parents[2]

_attached: dict[str, str] = {}


# --- start and end --------------------------------------------------------------------------------------------------


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
    """Open a new run, the one that ``mlflow run`` has opened, or one to resume; yield it.

    It ends as FINISHED; as KILLED on Ctrl-C; as FAILED on any other exception. The tag ``error`` holds the reason.
    System metrics are sampled throughout.

    Args:
        name: name of a new run; a name that the user gave to ``mlflow run`` is kept.
        tags: tags that are set when the run is opened.
        parent: the id of the parent run.
        resume: the run to resume.

    Raises:
        UsageError: the caller has an active run.
    """
    if active := mlflow.active_run():
        raise UsageError(f"Run {active.info.run_id} is active in this process. End it first: mlflow.end_run().")
    project, status = project_run(), "FINISHED"
    with environment({"MLFLOW_RUN_ID": project} if project else {}):  # MLflow drops it when a run ends
        try:
            run = _started(name, tags, parent, resume)
            yield run
            end(run.run_id)
        except BaseException as error:
            # When interrupted, `mlflow run` (3.17) overwrites any status with FAILED; the tag keeps the reason.
            is_killed = isinstance(error, KeyboardInterrupt)
            status, reason = ("KILLED", STOPPED) if is_killed else ("FAILED", str(error) or repr(error))
            if active := mlflow.active_run():
                with best_effort():
                    end(active.info.run_id, status, reason)
            raise
        finally:
            with best_effort():  # MLflow's own function cannot be retried: it forgets the run after its first attempt
                mlflow.end_run(status)


def _started(name: str, tags: Mapping[str, str], parent: str | None, resume: TrackedRun | None) -> TrackedRun:
    """Make a run the active one, and return it."""
    os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")  # seconds; the default is 10
    started = retried(
        mlflow.start_run,  # the project's run is given explicitly, because MLflow forgets it after its first attempt
        run_id=resume.run_id if resume else project_run(),
        run_name=None if resume else _run_name(name),
        parent_run_id=parent,
        tags=dict(tags),
        log_system_metrics=True,
    )
    run = tracked(started)
    _describe_experiment(run.experiment_id, mlflow.get_tracking_uri())
    if schema.ERROR in run.tags:
        client().delete_tag(run.run_id, schema.ERROR)
    for path, text in _attached.items():
        client().log_text(run.run_id, text, path)
    return run


@contextmanager
def best_effort() -> Iterator[None]:
    """Ignore errors of the tracking server, and wait for it only a few seconds."""
    with suppress(PipelineError, MlflowException, OSError, SQLAlchemyError), environment(BRIEF):
        yield


def end(run_id: str, status: str = "FINISHED", reason: str = "") -> None:
    """End a run that has not ended before, with the reason if it did not finish."""
    if get_run(run_id).status == "RUNNING":
        if reason:
            client().set_tag(run_id, schema.ERROR, reason)
        client().set_terminated(run_id, status)


def create_child(parent: TrackedRun, name: str, tags: Mapping[str, str]) -> TrackedRun:
    """Return a new child of a run, which does not become the active run."""
    return tracked(
        client().create_run(parent.experiment_id, run_name=name, tags={**tags, schema.PARENT: parent.run_id})
    )


def describe_stage_run(run_id: str, name: str, parent: str | None) -> None:
    """Name and tag a run that ``mlflow run`` opened for a command whose results are elsewhere.

    It is not deleted, because ``mlflow run`` ends it afterwards and would fail.

    Args:
        run_id: id of that run.
        name: name of the command; a name that the user gave is kept.
        parent: the run with the results, if a run holds them; the UI shows this run below it.
    """
    client().update_run(run_id, name=_run_name(name))
    log_tags(run_id, schema.of_kind(schema.STAGE) | ({schema.PARENT: parent} if parent else {}))


def project_run() -> str | None:
    """Return the id of the run that ``mlflow run`` has opened for this process, if there is one."""
    return os.environ.get("MLFLOW_RUN_ID")


def _run_name(name: str) -> str:
    """Return ``name``, or the name that the user gave to ``mlflow run``."""
    project = project_run()
    given = get_run(project).name if project else None
    return given if given and not NAMED_BY_MLFLOW.fullmatch(given) else name


# --- data and environment -------------------------------------------------------------------------------------------


def origin(*, gpus: list[str]) -> dict[str, str]:
    """Return the tags of the machine, the package versions and the commit that the numbers of a run depend on."""
    tags = {schema.MACHINE: f"{processor()}, {', '.join(gpus) or 'no GPU'}", f"{schema.VERSION}pipeline": __version__}
    tags |= {f"{schema.VERSION}{package}": metadata.version(package) for package in RECORDED_PACKAGES}
    if (CHECKOUT / ".git").exists():
        tags[schema.COMMIT] = get_git_commit(str(CHECKOUT)) or ""
    return tags


def log_input(run_id: str, data: "DataSet", context: Literal["training", "test"]) -> None:
    """Log a split of the data as an input of a run; MLflow logs each only once."""
    split = data.train if context == "training" else data.test
    source, name = CodeDatasetSource(tags={"source": data.source}), f"{data.name}-{context}"
    fields = from_numpy(split.examples, source, split.labels, name=name, digest=data.digest8).to_dict()
    fields["profile"] = json.dumps(json.loads(fields["profile"]) | {"classes": data.class_names})
    client().log_inputs(run_id, [DatasetInput(Dataset(**fields), [InputTag("mlflow.data.context", context)])])


def subject(model_id: str, data: "DataSet", context: str) -> dict[str, str]:
    """Return the logged model and the input of :func:`log_input` to which a metric belongs."""
    return {"model_id": model_id, "dataset_name": f"{data.name}-{context}", "dataset_digest": data.digest8}


def processor() -> str:
    """Return the processor and its cores, such as ``AMD EPYC, 2 cores``; the tag ``machine`` begins with this text."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: *(.+)", info.read_text(encoding="utf-8"), re.M) if info.exists() else None
    cpu = named[1] if named else platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores"


# --- pages in the UI ------------------------------------------------------------------------------------------------


def where(run_id: str, what: str) -> str:
    """Return the ID of the run with the results of a command, and how to see them, without a password."""
    run, said = get_run(run_id), f"Run ID: {run_id}. To see {what}"
    if page := page_of(run):
        return f"{said}, open {page}"
    file = connection.file()
    is_default = file is not None and file.resolve() == Path("mlflow.db").resolve()  # which `mlflow ui` shows
    store = "" if is_default else f" --backend-store-uri {shlex.quote(connection.address())}"
    return f"{said}, type `mlflow ui{store}` and open {page_of(run, 'http://127.0.0.1:5000')}"


def page_of(run: TrackedRun, server: str = "") -> str:
    """Return the address of a run's page on its tracking server, or else on ``server``; empty if there is none."""
    if connection.address().startswith(("http://", "https://")):
        server = connection.address().rstrip("/")
    # Without the workflow, MLflow's UI shows the run as a generative AI run.
    page = f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    return page if server else ""


@cache
def _describe_experiment(experiment_id: str, store: str) -> None:
    """Describe an experiment of a store once; keep tags that the user has written."""
    tags = client().get_experiment(experiment_id).tags
    for name, text in schema.OF_EXPERIMENT.items():
        if name not in tags:
            client().set_experiment_tag(experiment_id, name, text)
