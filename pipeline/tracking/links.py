"""Where a person looks at a run: an address of the tracking server, or the command that shows a local store."""

import shlex
from pathlib import Path
from urllib.parse import urlsplit

import mlflow

from pipeline.tracking import connection, store
from pipeline.tracking.schema import TrackedRun

DEFAULT = Path("mlflow.db")
"""The store that `mlflow ui` shows unless told."""

MODEL_TRAINING = "workflowType=machine_learning"
"""With this in its address, MLflow's UI opens on the side of model training, not of generative AI."""


def look_at(run_id: str) -> str:
    """Return a sentence on how to look at a run; it names no password."""
    if place := page_of(store.get_run(run_id)):
        return f"Look at it at {place}"
    file = connection.file()
    if file is not None and file.resolve() == DEFAULT.resolve():
        return "Look at it with: mlflow ui"
    return f"Look at it with: mlflow ui --backend-store-uri {shlex.quote(connection.address())}"


def page_of(run: TrackedRun) -> str:
    """Return the address of a run's page in the UI of its tracking server, or nothing where the store has no server."""
    parts = urlsplit(mlflow.get_tracking_uri())
    if parts.scheme not in ("http", "https"):
        return ""
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    return f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}?{MODEL_TRAINING}"
