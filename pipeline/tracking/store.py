"""What goes into MLflow, and how it comes back; the only module that talks to its store.

A run that ``mlflow run`` has opened for us (``MLFLOW_RUN_ID``) is continued;
otherwise one is made. Everything is logged by run id, so that a stage can add
to a run that has ended.
"""

import os
import platform
import re
import shlex
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc import load_model as load_pyfunc
from mlflow.pyfunc import log_model as log_pyfunc
from mlflow.system_metrics import set_system_metrics_samples_before_logging, set_system_metrics_sampling_interval
from mlflow.types.schema import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.errors import TrackingError, UsageError
from pipeline.progress import EpochRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from pipeline.data.processed import DataSet, Split

MODEL_NAME = "model"
MODEL_CODE = Path(__file__).with_name("scoring.py")
MODEL_PACKAGES = ("mlflow-skinny", "numpy", "pandas", "tensorflow")
RECORDED_PACKAGES = ("tensorflow", "keras", "mlflow", "numpy", "pandas", "scikit-learn")

CHILDREN = "children"
"""The tag in which a comparison lists the ids of its trainings, parted by commas; some may have another parent."""

COMPARISON = "comparison"
"""The tag in which a run lists the ids of the comparisons that it is in, parted by commas."""

LOCKED_TRIES = 10  # of 20 s each, which MLflow waits for its SQLite file; SQLite is not fair to those who wait
SAMPLE_SECONDS = 1  # of the system metrics: MLflow's own 10 s leave a short run without any
ANSWER_SECONDS = 5  # that a tracking server has to answer its first call
NAMED_BY_MLFLOW = re.compile(r"[a-z]+-[a-z]+-\d+")  # such as clumsy-fish-12; a person's --run-name stays


def connect() -> None:
    """Make sure that the tracking server answers, before anything costly begins.

    Raises:
        TrackingError: it does not; names its address.
    """
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_SECONDS)}
    with _environment(patience), explained("No answer from the tracking server"):
        mlflow.search_experiments(max_results=1)


@contextmanager
def open_run(
    name: str, tags: Mapping[str, str], *, parent: str | None = None, resume: str | None = None
) -> Iterator[str]:
    """Open a run, or continue one, and yield its id.

    It ends as FINISHED; as KILLED on Ctrl-C; as FAILED when anything is raised.
    The tag ``error`` holds the reason. System metrics are sampled throughout.

    Args:
        name: of the run; the one that a person gave to ``mlflow run`` stays.
        tags: that it has from the moment it is there.
        parent: the id of the run that it belongs under.
        resume: the id of the run to continue. None: that of ``mlflow run``, if it has opened one; otherwise a new run.
    """
    set_system_metrics_sampling_interval(SAMPLE_SECONDS)  # type: ignore[no-untyped-call]
    set_system_metrics_samples_before_logging(1)  # type: ignore[no-untyped-call]
    run_id = mlflow.start_run(
        run_id=resume,
        run_name=None if resume else _run_name(name),
        parent_run_id=parent,
        tags=dict(tags),
        log_system_metrics=True,
    ).info.run_id
    if "error" in get_run(run_id).data.tags:
        _client().delete_tag(run_id, "error")  # of the attempt before
    try:
        yield run_id
    except KeyboardInterrupt:
        # `mlflow run` (3.17) writes FAILED over any status when it is interrupted; the tag says what it was.
        _client().set_tag(run_id, "error", "Stopped by Ctrl-C or a termination signal.")
        mlflow.end_run("KILLED")
        raise
    except BaseException as error:
        _client().set_tag(run_id, "error", str(error) or repr(error))
        mlflow.end_run("FAILED")
        raise
    mlflow.end_run()


def describe_project_run(name: str, tags: Mapping[str, str] | None = None) -> None:
    """Name and tag the run that ``mlflow run`` opened for a stage whose results are not its own."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        _client().update_run(run_id, name=_run_name(name))
        log_tags(run_id, tags or {})


def log_parameters(run_id: str, parameters: Mapping[str, object]) -> None:
    """Log parameters by name, except those that the run has already.

    Params are write-once: where MLflow holds what the user typed, that stays.
    """
    present = get_run(run_id).data.params
    params = [Param(name, str(value)) for name, value in parameters.items() if name not in present]
    _log_batch(run_id, params=params)


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags by name, in one request."""
    _log_batch(run_id, tags=_tags(tags))


def in_project_run() -> bool:
    """Return whether ``mlflow run`` has opened a run for this process."""
    return "MLFLOW_RUN_ID" in os.environ


def add_child(parent: str, run_id: str) -> None:
    """List a run among the children of a comparison: also one that another comparison has trained, and keeps."""
    _append(parent, CHILDREN, run_id)


def add_to_comparison(run_id: str, parent: str) -> None:
    """Mark a run as one of a comparison's, by which the UI can filter; it may belong to several."""
    _append(run_id, COMPARISON, parent)


def _append(run_id: str, tag: str, item: str) -> None:
    """Add an item, unless it is there, to those that a tag holds, parted by commas."""
    items = list(filter(None, get_run(run_id).data.tags.get(tag, "").split(",")))
    if item not in items:
        _client().set_tag(run_id, tag, ",".join([*items, item]))


def log_origin(run_id: str, data: "DataSet", *, gpus: list[str]) -> None:
    """Log what the numbers depend on beside the parameters: data, machine, package versions, commit."""
    tags = {"dataset": data.name, "dataset_digest": data.digest, "machine": _machine(gpus)}
    tags |= {f"version.{package}": version(package) for package in RECORDED_PACKAGES}
    run = get_run(run_id)
    if "mlflow.source.git.commit" not in run.data.tags and (commit := _commit()):
        tags["mlflow.source.git.commit"] = commit
    log_tags(run_id, tags)
    if run.inputs and run.inputs.dataset_inputs:
        return
    for split, context in ((data.train, "training"), (data.test, "test")):
        mlflow.log_input(_dataset(data, split, context), context=context)


def log_metrics(run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
    """Log metrics by name, in one request."""
    if not metrics:
        return
    now = time.time_ns() // 1_000_000
    _log_batch(run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()])


def log_missing_metrics(run_id: str, metrics: Mapping[str, float]) -> None:
    """Log those of the metrics that the run does not have yet."""
    present = get_run(run_id).data.metrics
    log_metrics(run_id, {name: value for name, value in metrics.items() if name not in present})


def log_epoch(run_id: str, record: EpochRecord) -> None:
    """Log the metrics of an epoch; the step is the epoch, from 1."""
    log_metrics(run_id, _epoch_metrics(record), step=record.epoch)


def log_missing_epochs(run_id: str, records: Sequence[EpochRecord]) -> None:
    """Log what the run does not have of the epochs: it may have been cut off while it logged the last of them."""
    names = _epoch_metrics(records[0]) if records else {}
    present = {(name, entry.step) for name in names for entry in _client().get_metric_history(run_id, name)}
    for record in records:
        metrics = _epoch_metrics(record)
        missing = {name: metrics[name] for name in metrics if (name, record.epoch) not in present}
        log_metrics(run_id, missing, step=record.epoch)


def _epoch_metrics(record: EpochRecord) -> dict[str, float]:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name != "epoch"}


def log_figure(run_id: str, figure: "Figure", path: str) -> None:
    """Log a figure as the artifact ``path``, a PNG."""
    _client().log_figure(run_id, figure, path)


def log_table(run_id: str, table: "DataFrame", path: str) -> None:
    """Log a table as the artifact ``path``: CSV or Parquet, by its ending."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, Path(path).name)
        if file.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)
        _client().log_artifact(run_id, str(file), str(Path(path).parent))


def log_model(folder: Path, data: "DataSet") -> str:
    """Log the model saved in ``folder`` (see ``network.save``) on the active run; return its URI.

    It takes raw pixels (N, H, W) float32, 0–255, and answers with probabilities
    (N, C) float32. Its environment names the few packages that it needs.
    """
    pixels = TensorSpec(np.dtype(np.float32), (-1, data.height, data.width))
    probabilities = TensorSpec(np.dtype(np.float32), (-1, data.classes))
    # Were a uv.lock about, MLflow would put it into the model, and serving would build that in place of the pins.
    with _environment({"MLFLOW_LOG_UV_FILES": "false"}):
        info = log_pyfunc(
            name=MODEL_NAME,
            python_model=str(MODEL_CODE),
            artifacts={"saved_model": str(folder / "saved_model"), "keras_model": str(folder / "model.keras")},
            signature=ModelSignature(Schema([pixels]), Schema([probabilities])),
            input_example=data.test.images[:1].astype(np.float32),
            pip_requirements=[f"{package}=={version(package)}" for package in MODEL_PACKAGES],
            metadata={"dataset": data.name, "dataset_digest": data.digest, "class_names": list(data.class_names)},
        )
    return str(info.model_uri)


def get_run(run_id: str) -> Run:
    """Return a run.

    Raises:
        TrackingError: there is none with this id.
    """
    with explained(f"run_id: expected a run of this tracking server, received {run_id!r}"):
        return _client().get_run(run_id)


def find_runs(filter_string: str) -> list[Run]:
    """Return the runs of the active experiment that an MLflow filter matches, the newest first.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: it is no filter.
    """
    with explained("No answer from the tracking server"):
        try:
            found: list[Run] = mlflow.search_runs(filter_string=filter_string, output_format="list")
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            raise UsageError(
                f"filter: expected an MLflow filter such as \"tags.comparison = 'first'\", received {filter_string!r}. "
                f"MLflow says: {_first_line(error)}"
            ) from None
        return found


def children_of(run_id: str) -> list[Run]:
    """Return the runs that name this one as their parent, and those that its tag ``children`` names, by their start.

    Raises:
        TrackingError: there is no such run, or none of an id in the tag.
    """
    parent = get_run(run_id)
    query = f"tags.`mlflow.parentRunId` = '{run_id}'"
    with explained("No answer from the tracking server"):
        children = mlflow.search_runs([parent.info.experiment_id], query, output_format="list")
    found = {child.info.run_id: child for child in children}
    listed = [child.strip() for child in parent.data.tags.get(CHILDREN, "").split(",")]
    found |= {child: get_run(child) for child in listed if child and child not in found}
    return sorted(found.values(), key=lambda child: child.info.start_time)


def is_child(run: Run, parent_run_id: str) -> bool:
    """Return whether a run names that one as its parent."""
    return run.data.tags.get(MLFLOW_PARENT_RUN_ID) == parent_run_id


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
        file = _client().download_artifacts(run_id, path, folder)
        try:
            return pd.read_parquet(file) if path.endswith(".parquet") else pd.read_csv(file)
        except ValueError as error:  # pyarrow's and pandas's own are of this kind
            raise OSError(f"{path} does not read as a table: {error}") from None


def log_folder(run_id: str, folder: Path, path: str) -> None:
    """Log all files of a folder as artifacts below ``path``."""
    with explained("The tracking server did not take the files"):
        _client().log_artifacts(run_id, str(folder), path)


def parameters_of(run_id: str) -> dict[str, str]:
    """Return the parameters of a run as text.

    Raises:
        TrackingError: there is no run with this id.
    """
    # `mlflow run` logs what it hands to a shell: a value with a space stands in quotes.
    return {
        name: "".join(shlex.split(value)) if value.startswith("'") else value
        for name, value in get_run(run_id).data.params.items()
    }


def discard_models(run_id: str) -> None:
    """Delete the models that a run has logged."""
    run = get_run(run_id)
    models = _client().search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'")
    for model in models:
        _client().delete_logged_model(model.model_id)


def load_model(run_id: str) -> PyFuncModel:
    """Return the model that a run has logged, as it is served.

    Raises:
        TrackingError: the run holds no model, or the model does not load.
    """
    with explained(f"run_id: expected a run that holds a model, received {run_id!r}"):
        return load_pyfunc(f"runs:/{run_id}/{MODEL_NAME}")


def _log_batch(run_id: str, **entries: Any) -> None:
    """Log metrics, params or tags in one request; wait where many processes write into one SQLite file."""
    for _ in range(LOCKED_TRIES):
        try:
            _client().log_batch(run_id, **entries)
            return
        except MlflowException as error:
            if "database is locked" not in str(error):
                raise
    _client().log_batch(run_id, **entries)


def _client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient()


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value) for name, value in tags.items()]


def _run_name(name: str) -> str:
    """Return ``name``, or the name that a person gave the run of ``mlflow run``."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    given = get_run(run_id).info.run_name if run_id else None
    return given if given and not NAMED_BY_MLFLOW.fullmatch(given) else name


def _dataset(data: "DataSet", split: "Split", context: str) -> Dataset:
    source = data.source if _is_place(data.source) else CodeDatasetSource(tags={"source": data.source})
    name = f"{data.name}-{context}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")  # a local folder
        return from_numpy(split.images, source=source, targets=split.labels, name=name, digest=data.digest8)


def _is_place(source: str) -> bool:
    """Return whether ``source`` is an address or a folder, rather than the library that made the data."""
    return source.startswith(("http://", "https://")) or Path(source).is_absolute()


def _machine(gpus: list[str]) -> str:
    """Return a line such as ``AMD EPYC, 2 cores, no GPU``."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}"


def _commit() -> str:
    """Return the commit of the checkout that this package lies in, or nothing where it is installed elsewhere."""
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():
        return ""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn what MLflow raises into an error for the user."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{problem}. Tracking server: {mlflow.get_tracking_uri()}. It said: {_first_line(error)}. "
            "Check MLFLOW_TRACKING_URI, and that the server runs."
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
