"""List the last trainings.

pipeline runs --limit 100
pipeline runs --json
"""

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.stages import listing
from pipeline.stages.listing import Row

COLUMNS = ("run", "name", "data", "test accuracy %", "train s", "state", "started")


def runs(reporter: Reporter, *, data_dir: Path, limit: int, as_json: bool) -> list[Row]:
    """Return the last trainings, the newest first, and tell the reporter.

    Args:
        reporter: told a table, or JSON.
        data_dir: holds the checkpoints of what was cut off.
        limit: how many at most.
        as_json: tell them as a JSON array.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    rows = listing.latest(expanded(data_dir), limit)
    if as_json:
        reporter.result(json.dumps([asdict(row) for row in rows], indent=2))
    elif rows:
        reporter.table(COLUMNS, [_cells(row) for row in rows])
    else:
        reporter.note("No trainings yet. First: pipeline run")
    return rows


def _cells(row: Row) -> list[str]:
    accuracy = "" if row.test_accuracy is None else f"{100 * row.test_accuracy:.2f}"
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    return [row.run_id, row.name, row.data, accuracy, seconds, row.state, row.started]
