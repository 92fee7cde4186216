"""What a person sees in MLflow's UI: the address of a run's page, and the descriptions of experiments and runs."""

import shlex
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import mlflow

from pipeline.tracking import connection, schema, store
from pipeline.tracking.connection import client
from pipeline.tracking.schema import TrackedRun

LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves by default."""

DEFAULT_STORE = Path("mlflow.db")
"""The store that `mlflow ui` shows by default."""

KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""The tag by which MLflow's UI tells experiments of models from those of generative AI."""

DESCRIPTION = """Recurrent networks that read images row by row.

**Runs**, by their tag `kind`: a `training`; a `comparison` of several; between the two a `group` for each
configuration, with means over seeds. Tick the groups of a comparison, then *Compare*: each cell is one line.

| metric | what it is |
| --- | --- |
| `cost`, `accuracy` | of the training images in an epoch: mean cross-entropy in nats, share that is right |
| `val_cost`, `val_accuracy` | of the validation images after the epoch, by the weights as they stand |
| `best_val_accuracy`, `best_epoch` | of the epoch whose weights are kept |
| `test_cost`, `test_accuracy` | of the kept weights on the test images, which decide nothing |
| `epoch_seconds`, `train_seconds` | of training alone, without validation and logging |
| `cpu_seconds` | processor time of all cores in the epochs: equal on a busy machine and a quiet one, nearly |
| `…_sd`, `…_min`, `…_max` | of a group: standard deviation, lowest, highest over its seeds |
"""


def where(run_id: str, what: str) -> str:
    """Return which run holds what a command has made, and how to look at it; no password is in the address."""
    return f"Run {run_id} holds {what}. {_look_at(store.get_run(run_id))}"


def _look_at(run: TrackedRun) -> str:
    if page := page_of(run):
        return f"Look at it at {page}"
    file = connection.file()
    is_default = file is not None and file.resolve() == DEFAULT_STORE.resolve()
    store = "" if is_default else f" --backend-store-uri {shlex.quote(connection.address())}"
    return f"Look at it with: mlflow ui{store}, then open {_page(LOCAL, run)}"


def page_of(run: TrackedRun) -> str:
    """Return the address of a run's page on its tracking server; nothing if the store has no server."""
    parts = urlsplit(mlflow.get_tracking_uri())
    if parts.scheme not in ("http", "https"):
        return ""
    return _page(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}", run)


def _page(server: str, run: TrackedRun) -> str:
    # Without the workflow, MLflow's UI shows the run as one of generative AI.
    return f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"


@cache
def describe_experiment(experiment_id: str) -> None:
    """Describe an experiment, once; what a person has written stays."""
    tags = client().get_experiment(experiment_id).tags
    for name, text in ((KIND, MODEL_TRAINING), (schema.DESCRIPTION, DESCRIPTION)):
        if name not in tags:
            client().set_experiment_tag(experiment_id, name, text)


def describe_result(run: TrackedRun, result: str) -> None:
    """Put the result of a training before its description, on the first screen; what a person has written stays."""
    general = schema.DESCRIPTIONS[schema.TRAINING]
    if run.tags.get(schema.DESCRIPTION, general).endswith(general):
        client().set_tag(run.run_id, schema.DESCRIPTION, f"{result}\n\n{general}")
