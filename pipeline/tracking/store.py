"""What goes into a run, and how it comes back.

Everything is logged by run id, so that a stage can add to a run that has ended.
How a run begins and ends is in ``lifecycle.py``.
"""

import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

from pipeline.errors import UsageError, first_line
from pipeline.records import EpochRecord
from pipeline.tracking import artifacts, schema
from pipeline.tracking.connection import client, explained, patiently
from pipeline.tracking.schema import TrackedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def log_parameters(run_id: str, parameters: Mapping[str, object]) -> None:
    """Log parameters by name, except those that the run has already.

    Params are write-once: where MLflow holds what the user typed, that stays.
    """
    present = get_run(run_id).params
    params = [Param(name, str(value)) for name, value in parameters.items() if name not in present]
    client().log_batch(run_id, params=params)


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags by name, in one request."""
    client().log_batch(run_id, tags=_tags(tags))


def log_metrics(
    run_id: str, metrics: Mapping[str, float], subject: schema.Subject | None = None, *, step: int = 0
) -> None:
    """Log metrics by name, in one request; those of a subject stand beside its model in the UI, too."""
    if not metrics:
        return
    now = time.time_ns() // 1_000_000
    of = asdict(subject) if subject else {}
    linked = {"model_id": of.get("model_id"), "dataset_name": of.get("dataset"), "dataset_digest": of.get("digest")}
    entries = [Metric(name, float(value), now, step, **linked) for name, value in metrics.items()]
    client().log_batch(run_id, metrics=entries)


def log_missing_metrics(run_id: str, metrics: Mapping[str, float], subject: schema.Subject | None = None) -> None:
    """Log those of the metrics that the run does not have yet."""
    present = get_run(run_id).metrics
    log_metrics(run_id, {name: value for name, value in metrics.items() if name not in present}, subject)


def log_epoch(run_id: str, record: EpochRecord) -> None:
    """Log the metrics of an epoch; the step is the epoch, from 1."""
    log_metrics(run_id, _epoch_metrics(record), step=record.epoch)


def log_missing_epochs(run_id: str, records: Sequence[EpochRecord]) -> None:
    """Log what the run does not have of the epochs: it may have been cut off while it logged the last of them."""
    names = _epoch_metrics(records[0]) if records else {}
    present = {(name, entry.step) for name in names for entry in client().get_metric_history(run_id, name)}
    for record in records:
        metrics = _epoch_metrics(record)
        missing = {name: metrics[name] for name in metrics if (name, record.epoch) not in present}
        log_metrics(run_id, missing, step=record.epoch)


def _epoch_metrics(record: EpochRecord) -> dict[str, float]:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name != "epoch"}


def log_figure(run_id: str, figure: "Figure", path: str) -> None:
    """Log a figure as the artifact ``path``, a PNG."""
    client().log_figure(run_id, figure, path)


def log_table(run_id: str, table: "DataFrame", path: str) -> None:
    """Log a table as the artifact ``path``: CSV or Parquet, by its ending."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, Path(path).name)
        if file.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)
        client().log_artifact(run_id, str(file), str(Path(path).parent))


def find_run(run_id: str) -> TrackedRun | None:
    """Return a run, also one in MLflow's bin; None where there is none of this id, as it was removed for good.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    with explained("No answer from the tracking server"):
        try:
            return _tracked(client().get_run(run_id))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None


def get_run(run_id: str) -> TrackedRun:
    """Return a run.

    Raises:
        TrackingError: there is none with this id.
    """
    with explained(f"run_id: expected a run of this tracking server, received {run_id!r}"):
        return _tracked(client().get_run(run_id))


def find_runs(filter_string: str, *, experiment: str | None = None, limit: int = 100_000) -> list[TrackedRun]:
    """Return the runs that an MLflow filter matches, the newest first, ``limit`` at most.

    Args:
        filter_string: the filter.
        experiment: the id of theirs; None: the active one.
        limit: of their number.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: it is no filter.
    """
    with explained("No answer from the tracking server"):
        try:
            found: list[Run] = patiently(
                mlflow.search_runs,
                [experiment] if experiment else None,
                filter_string=filter_string,
                max_results=limit,
                output_format="list",
            )
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            raise UsageError(
                f"filter: expected an MLflow filter such as \"tags.comparison = 'first'\", received {filter_string!r}. "
                f"MLflow says: {first_line(error)}"
            ) from None
        return [_tracked(run) for run in found]


def find_checkpointed_runs() -> list[TrackedRun]:
    """Return the runs of all experiments that name a checkpoint, those in MLflow's bin, too.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    with explained("No answer from the tracking server"):
        found: list[Run] = patiently(
            mlflow.search_runs,
            filter_string=f"tags.{schema.CHECKPOINT} != ''",
            run_view_type=ViewType.ALL,
            search_all_experiments=True,
            output_format="list",
        )
    return [_tracked(run) for run in found]


def _tracked(run: Run) -> TrackedRun:
    return TrackedRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name,
        status=run.info.status,
        started=run.info.start_time,
        ended=run.info.end_time,
        params={name: value for name, value in run.data.params.items() if not name.startswith(schema.LEASE)},
        leases=_leases(run.data.params),
        metrics=run.data.metrics,
        tags=run.data.tags,
        has_inputs=bool(run.inputs and run.inputs.dataset_inputs),
        is_deleted=run.info.lifecycle_stage == LifecycleStage.DELETED,
    )


def _leases(params: Mapping[str, str]) -> dict[int, str]:
    numbers = {name: name.removeprefix(schema.LEASE) for name in params if name.startswith(schema.LEASE)}
    return {int(number): params[name] for name, number in numbers.items() if number.isdecimal()}


def load_table(run_id: str, path: str) -> "DataFrame":
    """Return a table that a run has logged as the artifact ``path``: CSV or Parquet, by its ending.

    Raises:
        TrackingError: the run holds no such artifact, or it is no table.
    """
    import pandas as pd

    with (
        explained(f"run_id: expected a run that holds {path}, received {run_id!r}"),
        tempfile.TemporaryDirectory() as folder,
    ):
        file = artifacts.fetch(run_id, path, Path(folder))
        try:
            return pd.read_parquet(file) if path.endswith(".parquet") else pd.read_csv(file)
        except ValueError as error:  # pyarrow's and pandas's own are of this kind
            raise OSError(f"{path} does not read as a table: {error}") from None


def artifacts_in(run_id: str, folder: str) -> set[str]:
    """Return the names of the files that a run holds in a folder."""
    return {Path(file.path).name for file in client().list_artifacts(run_id, folder)}


def log_folder(run_id: str, folder: Path, path: str) -> None:
    """Log all files of a folder as artifacts below ``path``."""
    with explained("The tracking server did not take the files"):
        client().log_artifacts(run_id, str(folder), path)


def parameters_of(run_id: str) -> dict[str, str]:
    """Return the parameters of a run as text.

    Raises:
        TrackingError: there is no run with this id.
    """
    # `mlflow run` logs what it hands to a shell: a value with a space stands in quotes.
    return {
        name: "".join(shlex.split(value)) if value.startswith("'") else value
        for name, value in get_run(run_id).params.items()
    }


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value) for name, value in tags.items()]
