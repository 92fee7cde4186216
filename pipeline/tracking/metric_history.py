"""Metrics over steps: read whole, and logged in as few requests as the server takes."""

import time
from collections.abc import Mapping

from mlflow.entities import Metric

from pipeline.tracking.connection import client

MOST = 1_000
"""Metrics that a server takes in one request."""


def of(run_id: str, metric: str) -> dict[int, float]:
    """Return a metric's values by step."""
    return {entry.step: entry.value for entry in client().get_metric_history(run_id, metric)}


def log(run_id: str, steps: Mapping[int, Mapping[str, float]]) -> None:
    """Log metrics by step and name."""
    now = time.time_ns() // 1_000_000
    entries = [Metric(name, float(value), now, step) for step in steps for name, value in steps[step].items()]
    for start in range(0, len(entries), MOST):
        client().log_batch(run_id, metrics=entries[start : start + MOST])
