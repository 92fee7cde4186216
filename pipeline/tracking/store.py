"""Read and write the content of runs: parameters, tags, metrics, tables, figures and files.

Everything is logged by run id, so that a stage can add to a run that has ended.
The start and end of runs are in ``lifecycle.py``.
"""

import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.epochs import EpochRecord
from pipeline.errors import UsageError, first_line
from pipeline.tracking import schema
from pipeline.tracking.connection import client, explained, retried
from pipeline.tracking.schema import TrackedRun

if TYPE_CHECKING:
    from pandas import DataFrame

# --- runs -----------------------------------------------------------------------------------------------------------


def get_run(run_id: str) -> TrackedRun:
    """Return a run, even a deleted one.

    Raises:
        TrackingError: there is no run with this id.
    """
    with explained(f"There is no run {run_id!r}"):
        return tracked(client().get_run(run_id))


def find_runs(
    filter_string: str, *, experiment: str | None = None, everywhere: bool = False, limit: int = 100_000
) -> list[TrackedRun]:
    """Return the runs that an MLflow filter matches, the newest first.

    Args:
        filter_string: the filter.
        experiment: the id of their experiment; None: the active one.
        everywhere: search all experiments, and deleted runs.
        limit: maximum number of runs.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: the filter is not valid.
    """
    with explained("The tracking server cannot list runs", check="the experiment"):
        try:
            found: list[Run] = retried(
                mlflow.search_runs,
                [experiment] if experiment else None,
                filter_string=filter_string,
                max_results=limit,
                output_format="list",
                run_view_type=ViewType.ALL if everywhere else ViewType.ACTIVE_ONLY,
                search_all_experiments=everywhere,
            )
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise UsageError(
                f"filter: must be an MLflow filter such as \"params.cell = 'gru'\"; got {filter_string!r}. "
                f"MLflow says: {first_line(error)}"
            ) from None
    return [tracked(run) for run in found]


def tracked(run: Run) -> TrackedRun:
    """Return a run of MLflow as one of the pipeline."""
    return TrackedRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name,
        status=run.info.status,
        started=run.info.start_time,
        ended=run.info.end_time,
        params={name: _typed(value) for name, value in run.data.params.items()},
        metrics=run.data.metrics,
        tags=run.data.tags,
        is_deleted=run.info.lifecycle_stage == LifecycleStage.DELETED,
    )


def _typed(value: str) -> str:
    """Return a parameter as the user typed it: `mlflow run` logs it with shell quotes."""
    return "".join(shlex.split(value)) if value.startswith("'") else value


# --- members of a comparison ----------------------------------------------------------------------------------------


def mark(run_id: str, comparison: str) -> None:
    """Mark a run as a member of the comparison that trained or reused it; a run may be a member of several."""
    client().set_tag(run_id, f"{schema.MEMBER_OF}{comparison}", "true")


def belongs_to(run: TrackedRun, comparison: str) -> bool:
    """Return whether a comparison trained a run, so that the run is a child of it or of one of its groups."""
    parent = run.tags.get(schema.PARENT, "")
    group = f"attributes.run_id = '{parent}' and tags.`{schema.PARENT}` = '{comparison}'"
    return parent == comparison or bool(find_runs(group, everywhere=True))


def members(comparison: TrackedRun) -> list[TrackedRun]:
    """Return the runs that a comparison trained or reused, and its groups, ordered by start time."""
    marked = f"tags.`{schema.MEMBER_OF}{comparison.run_id}` = 'true'"
    found = find_runs(marked, experiment=comparison.experiment_id)
    return sorted((run for run in found if run.run_id != comparison.run_id), key=lambda run: run.started)


# --- parameters, tags and metrics -----------------------------------------------------------------------------------


def log_parameters(run: TrackedRun, parameters: Mapping[str, object]) -> None:
    """Log parameters by name, except those that the run already has.

    Params are write-once, so those that `mlflow run` has logged, as the user typed them, cannot change.
    """
    client().log_batch(
        run.run_id, params=[Param(name, str(value)) for name, value in parameters.items() if name not in run.params]
    )


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags by name in one request."""
    client().log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def log_metrics(
    run_id: str, metrics: Mapping[str, float], subject: Mapping[str, str] | None = None, *, step: int = 0
) -> None:
    """Log metrics by name; with a :func:`lifecycle.subject`, the UI also shows them next to its model."""
    log_history(run_id, {step: metrics}, subject)


def log_history(
    run_id: str, steps: Mapping[int, Mapping[str, float]], subject: Mapping[str, str] | None = None
) -> None:
    """Log metrics by step and name, in as few requests as the server allows."""
    now = time.time_ns() // 1_000_000
    entries = [
        Metric(name, float(value), now, step, **(subject or {}))
        for step, metrics in steps.items()
        for name, value in metrics.items()
    ]
    client().log_batch(run_id, metrics=entries)


def history_of(run_id: str, metric: str) -> dict[int, float]:
    """Return a metric's values by step."""
    return {entry.step: entry.value for entry in client().get_metric_history(run_id, metric)}


def log_epoch(run_id: str, record: EpochRecord) -> None:
    """Log the metrics of an epoch, all or none of them. The step is the epoch."""
    log_metrics(run_id, {name: value for name, value in vars(record).items() if name != "epoch"}, step=record.epoch)


# --- files ----------------------------------------------------------------------------------------------------------


def load_table(run_id: str, path: str) -> "DataFrame":
    """Return the table in the artifact ``path`` of a run, CSV or Parquet by its suffix.

    Raises:
        TrackingError: the run has no such artifact, or it is not a table.
    """
    import pandas as pd

    read = pd.read_parquet if path.endswith(".parquet") else pd.read_csv
    with (
        explained(f"run_id: must be a run that has {path}; got {run_id!r}", (ValueError,)),
        tempfile.TemporaryDirectory() as folder,
    ):
        return read(client().download_artifacts(run_id, path, folder))


def write_files(run_id: str, files: Mapping[str, Any]) -> None:
    """Write artifacts of a run by path, replacing existing ones.

    Bytes are written unchanged, figures as PNG, and tables as CSV or Parquet by the suffix of the path.

    Raises:
        TrackingError: the store refuses them.
    """
    problem = f"{next(iter(files))} of run {run_id} cannot be written"
    with explained(problem, check="its permissions"), tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            copy = Path(folder, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                copy.write_bytes(content)
            elif copy.suffix == ".png":
                content.savefig(copy, pil_kwargs={"compress_level": 1})
            else:
                (content.to_parquet if copy.suffix == ".parquet" else content.to_csv)(copy, index=False)
        client().log_artifacts(run_id, folder)


def files_in(run_id: str, folder: str) -> dict[str, int]:
    """Return the sizes in bytes of the files in a folder of a run, by path; empty if there is no folder."""
    with explained(f"The files of run {run_id} cannot be listed"):
        return {entry.path: entry.file_size or 0 for entry in client().list_artifacts(run_id, folder)}


def read_files(run_id: str, folder: str) -> list[bytes]:
    """Return the content of each file in a folder of a run; empty if there is no folder.

    Raises:
        TrackingError: a file cannot be read.
    """
    with explained(f"{folder} of run {run_id} cannot be read"), tempfile.TemporaryDirectory() as copies:
        paths = [client().download_artifacts(run_id, path, copies) for path in files_in(run_id, folder)]
        return [Path(path).read_bytes() for path in paths]


def remove_files(run_id: str, folder: str) -> None:
    """Remove a folder of a run.

    Raises:
        TrackingError: the store refuses it.
    """
    with explained(f"{folder} of run {run_id} cannot be removed", check="its permissions"):
        repository = get_artifact_repository(client().get_run(run_id).info.artifact_uri)
        repository.delete_artifacts(folder)  # type: ignore[no-untyped-call]
