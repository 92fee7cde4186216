"""Where a person looks at a run: an address of the tracking server, or the command that shows a local store."""

import shlex
from pathlib import Path
from urllib.parse import urlsplit

import mlflow

from pipeline.tracking import connection, store
from pipeline.tracking.sqlite import file_of

DEFAULT = Path("mlflow.db")
"""The store that `mlflow ui` shows unless told."""


def look_at(run_id: str) -> str:
    """Return a sentence on how to look at a run; it names no password."""
    uri = mlflow.get_tracking_uri()
    if urlsplit(uri).scheme in ("http", "https"):
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]
        path = f"/#/experiments/{store.get_run(run_id).experiment_id}/runs/{run_id}"
        return f"Look at it at {parts.scheme}://{host}{parts.path.rstrip('/')}{path}"
    file = file_of(uri)
    if file is not None and file.resolve() == DEFAULT.resolve():
        return "Look at it with: mlflow ui"
    return f"Look at it with: mlflow ui --backend-store-uri {shlex.quote(connection.address())}"
