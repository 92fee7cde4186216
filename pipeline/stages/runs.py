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


def runs(reporter: Reporter, *, data_dir: Path, limit: int, as_json: bool) -> list[dict[str, Any]]:
    """Return the latest runs of the active experiment, the newest first, and show them.

    Args:
        reporter: shows a table, or JSON.
        data_dir: folder of the checkpoints; their locks show which runs were interrupted.
        limit: maximum number of runs.
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
        numbers = ("val accuracy %", "test accuracy %", "train s")
        reporter.table(("run", "name", "data", *differing, *numbers, "state", "started"), [*map(_cells, rows)])
    else:
        reporter.note("No runs yet. Start with: pipeline run")
    return rows


def _latest(limit: int) -> list[TrackedRun]:
    if not connection.is_there():
        return []
    connection.connect()
    # A search also has a cell, and at least one trial, so twice the limit is enough.
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
        "val_accuracy": run.metrics.get(schema.BEST_VAL_ACCURACY),
        "test_accuracy": run.metrics.get(schema.TEST_ACCURACY),
        "seconds": run.metrics.get(schema.TRAIN_SECONDS),
        "state": _state(run, locks),
        "started": datetime.fromtimestamp(run.started / 1_000, UTC).isoformat(timespec="seconds"),
    }


def _state(run: TrackedRun, locks: RunLocks) -> str:
    if run.status == "FINISHED":
        return "pruned" if run.is_pruned else "finished" if run.is_evaluated else "trained"
    return "interrupted" if is_interrupted(run, locks) else run.status.lower()


def is_interrupted(run: TrackedRun, locks: RunLocks) -> bool:
    """Return whether a run has the status RUNNING, was started here, and no process works on it."""
    if run.status != "RUNNING" or run.has_remote_checkpoint:
        return False
    with suppress(DataError):  # the checkpoint has a name that is not from the pipeline
        return locks.exists(run.checkpoint) and not locks.is_held(run.checkpoint)
    return False


def _cells(row: dict[str, Any]) -> list[str]:
    accuracies = ["" if row[name] is None else f"{row[name]:.2%}"[:-1] for name in ("val_accuracy", "test_accuracy")]
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
    first, last = (row["run_id"], row["name"], row["data"]), (row["state"], row["started"])
    return [*first, *row["parameters"].values(), *accuracies, seconds, *last]
