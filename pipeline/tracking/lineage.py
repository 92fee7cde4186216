"""What the numbers of a run depend on beside its parameters: data, machine, package versions, commit."""

import json
import os
import platform
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from pipeline import __version__
from pipeline.tracking import schema
from pipeline.tracking.connection import client
from pipeline.tracking.schema import TrackedRun
from pipeline.tracking.store import log_tags

if TYPE_CHECKING:
    from pipeline.data.splits import DataSet, Split

RECORDED_PACKAGES = ("tensorflow", "keras", "mlflow", "numpy", "pandas", "scikit-learn")
PROJECT = "recurrent-mlflow-pipeline"


def log_origin(run: TrackedRun, data: "DataSet", *, gpus: list[str], tested: bool = True) -> None:
    """Log what the numbers depend on beside the parameters: data, machine, package versions, commit."""
    tags = {schema.MACHINE: f"{processor()}, {', '.join(gpus) or 'no GPU'}", f"{schema.VERSION}pipeline": __version__}
    tags |= {f"{schema.VERSION}{package}": metadata.version(package) for package in RECORDED_PACKAGES}
    if schema.COMMIT not in run.tags and (found := commit()):
        tags[schema.COMMIT] = found
    log_tags(run.run_id, tags)
    log_inputs(run, data, tested=tested)


def log_inputs(run: TrackedRun, data: "DataSet", *, tested: bool = True) -> None:
    """Log what is trained on and, if it is ``tested``, on what, as data sets of a run, unless it has them."""
    if not run.has_inputs:
        splits = {"training": data.train} | ({"test": data.test} if tested else {})
        client().log_inputs(run.run_id, [_input(data, split, context) for context, split in splits.items()])


def subject(model_id: str, data: "DataSet", context: str) -> dict[str, str]:
    """Return what a metric is of: a logged model on one of the data sets that :func:`log_inputs` has logged."""
    return {"model_id": model_id, "dataset_name": f"{data.name}-{context}", "dataset_digest": data.digest8}


def _input(data: "DataSet", split: "Split", context: str) -> DatasetInput:
    is_place = data.source.startswith(("http://", "https://")) or Path(data.source).is_absolute()
    source = data.source if is_place else CodeDatasetSource(tags={"source": data.source})  # such as scikit-learn
    name = f"{data.name}-{context}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")  # a local folder
        described = from_numpy(split.images, source=source, targets=split.labels, name=name, digest=data.digest8)
    return DatasetInput(Dataset(**described.to_dict()), [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def processor() -> str:
    """Return such as ``AMD EPYC, 2 cores``: how the tag of this machine begins."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores"


def commit() -> str:
    """Return the commit of this package: of the checkout that it lies in, or that it was installed from; or nothing."""
    checkout = Path(__file__).parents[2]
    if (checkout / ".git").exists():
        return get_git_commit(str(checkout)) or ""
    for installed in metadata.distributions(name=PROJECT):
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        return str(origin.get("vcs_info", {}).get("commit_id", ""))
    return ""
