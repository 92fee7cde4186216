"""Runs for tests, created without the pipeline."""

from collections.abc import Mapping

import mlflow


def new_run(name: str, tags: Mapping[str, str] | None = None) -> str:
    """Return the id of a new run in the active experiment; it stays RUNNING and does not become the active run."""
    run_id = mlflow.start_run(run_name=name, tags=dict(tags or {})).info.run_id
    mlflow.end_run("RUNNING")
    return str(run_id)
