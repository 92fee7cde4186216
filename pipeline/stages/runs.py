"""List the latest runs: accuracies, time, state, and the parameters in which they differ.

pipeline runs --limit 100
pipeline runs --json
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, expanded
from pipeline.tracking import connection, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training.locks import RunLocks

METRICS = {
    "val_accuracy": (schema.BEST_VAL_ACCURACY, "val accuracy %", 100, 2),
    "test_accuracy": (schema.TEST_ACCURACY, "test accuracy %", 100, 2),
    "seconds": (schema.TRAIN_SECONDS, "train s", 1, 1),
}
"""Names of what is shown → the metric, its heading, a factor, and decimal places."""


def runs(reporter: Reporter, *, data_dir: Path, limit: int, as_json: bool) -> list[dict[str, Any]]:
    """Return the latest runs of the active experiment, the newest first, and show them.

    Args:
        reporter: shows a table, or JSON.
        data_dir: folder of the checkpoints, which tell interrupted runs from running ones.
        limit: largest number of runs.
        as_json: show a JSON array.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    found = _latest(limit)
    differing = _differing(found)
    rows = [_row(run, differing, RunLocks(expanded(data_dir))) for run in found]
    if as_json:
        reporter.result(json.dumps(rows, indent=2))
    elif rows:
        numbers = [heading for _, heading, _, _ in METRICS.values()]
        headings = ("run", "name", "data", *differing, *numbers, "state", "started")
        reporter.table(headings, [_cells(row) for row in rows])
    else:
        reporter.note("No runs yet. Start with: pipeline run")
    return rows


def _latest(limit: int) -> list[TrackedRun]:
    if not connection.is_there():
        return []
    connection.connect()
    # Searches have a cell as well, and at least one trial each.
    found = store.find_runs(f"params.cell != '' and tags.{schema.FINGERPRINT} != ''", limit=2 * limit)
    return [run for run in found if run.is_training][:limit]


def _differing(found: Sequence[TrackedRun]) -> list[str]:
    """Return the parameters that do not have the same value in all runs."""
    names = dict.fromkeys(name for run in found for name in run.params if name not in DATA_PARAMETERS)
    return [name for name in names if len({run.params.get(name) for run in found}) > 1]


def _row(run: TrackedRun, differing: Sequence[str], locks: RunLocks) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "cell": run.params["cell"],
        "data": run.tags.get(schema.DATASET, run.params.get("dataset", "")),
        "parameters": {name: run.params.get(name, "") for name in differing},
        **{name: run.metrics.get(metric) for name, (metric, *_) in METRICS.items()},
        "state": _state(run, locks),
        "started": datetime.fromtimestamp(run.started / 1_000, UTC).isoformat(timespec="seconds"),
    }


def _state(run: TrackedRun, locks: RunLocks) -> str:
    if run.status == "FINISHED" and run.is_pruned:
        return "pruned"
    if run.status == "FINISHED":
        return "finished" if run.is_evaluated else "trained"
    return "interrupted" if is_interrupted(run, locks) else run.status.lower()


def is_interrupted(run: TrackedRun, locks: RunLocks) -> bool:
    """Return whether a run has the status RUNNING, was started here, and no process works on it."""
    if run.status != "RUNNING" or run.has_remote_checkpoint:
        return False
    with suppress(DataError):  # the name of a checkpoint that the pipeline has not written
        return locks.exists(run.checkpoint) and not locks.is_held(run.checkpoint)
    return False


def _cells(row: dict[str, Any]) -> list[str]:
    values = [
        "" if row[name] is None else f"{factor * row[name]:.{decimals}f}"
        for name, (_, _, factor, decimals) in METRICS.items()
    ]
    return [row["run_id"], row["name"], row["data"], *row["parameters"].values(), *values, row["state"], row["started"]]
