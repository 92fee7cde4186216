"""What the numbers of a run depend on beside its parameters: data, machine, package versions, commit."""

import os
import platform
import subprocess
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Dataset as Described
from mlflow.entities import DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from pipeline.tracking import schema
from pipeline.tracking.connection import client
from pipeline.tracking.store import get_run, log_tags

if TYPE_CHECKING:
    from pipeline.data.splits import DataSet, Split

RECORDED_PACKAGES = ("tensorflow", "keras", "mlflow", "numpy", "pandas", "scikit-learn")


def log_origin(run_id: str, data: "DataSet", *, gpus: list[str], tested: bool = True) -> None:
    """Log what the numbers depend on beside the parameters: data, machine, package versions, commit."""
    tags = {schema.MACHINE: _machine(gpus)}
    tags |= {f"{schema.VERSION}{package}": version(package) for package in RECORDED_PACKAGES}
    if schema.COMMIT not in get_run(run_id).tags and (commit := _commit()):
        tags[schema.COMMIT] = commit
    log_tags(run_id, tags)
    log_inputs(run_id, data, tested=tested)


def log_inputs(run_id: str, data: "DataSet", *, tested: bool = True) -> None:
    """Log what is trained on and, if it is ``tested``, on what, as data sets of a run, unless it has them."""
    if not get_run(run_id).has_inputs:
        splits = {"training": data.train} | ({"test": data.test} if tested else {})
        client().log_inputs(run_id, [_input(data, split, context) for context, split in splits.items()])


def subject(model_id: str, data: "DataSet", context: str) -> schema.Subject:
    """Return what a metric is of: a logged model on one of the data sets that :func:`log_inputs` has logged."""
    return schema.Subject(model_id=model_id, dataset=f"{data.name}-{context}", digest=data.digest8)


def _input(data: "DataSet", split: "Split", context: str) -> DatasetInput:
    described = Described(**_dataset(data, split, context).to_dict())
    return DatasetInput(described, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


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
    return f"{processor()}, {', '.join(gpus) or 'no GPU'}"


def processor() -> str:
    """Return such as ``AMD EPYC, 2 cores``: how the tag of this machine begins."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores"


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
