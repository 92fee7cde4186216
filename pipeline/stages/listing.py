"""The last trainings, and what became of them: also of those that a killed process has left."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import DataError
from pipeline.tracking import connection, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training.locks import RunLocks


@dataclass(frozen=True, kw_only=True)
class Row:
    """A training.

    Attributes:
        run_id: of its MLflow run.
        name: such as ``gru-s1``.
        cell: that was trained.
        data: the name of the data set.
        test_accuracy: a fraction of 1; None if it was not evaluated.
        seconds: of the epochs; None if they have not ended.
        state: finished, trained (and not evaluated), pruned (by a search), running, cut off, failed or killed.
        started: date and time, in UTC, ISO 8601.
    """

    run_id: str
    name: str
    cell: str
    data: str
    test_accuracy: float | None
    seconds: float | None
    state: str
    started: str


def latest(data_dir: Path, limit: int) -> list[Row]:
    """Return the last trainings of the active experiment, the newest first; none where there is no store yet.

    Args:
        data_dir: with this machine's checkpoints.
        limit: how many at most.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    if not connection.is_there():
        return []
    connection.connect()
    # Searches are among them, of which each has a trial at the least.
    found = store.find_runs(f"params.cell != '' and tags.{schema.FINGERPRINT} != ''", limit=2 * limit)
    return [_row(run, RunLocks(data_dir)) for run in found if run.is_training][:limit]


def _row(run: TrackedRun, locks: RunLocks) -> Row:
    return Row(
        run_id=run.run_id,
        name=run.name,
        cell=run.params["cell"],
        data=run.tags.get(schema.DATASET, run.params.get("dataset", "")),
        test_accuracy=run.metrics.get(schema.TEST_ACCURACY),
        seconds=run.metrics.get(schema.TRAIN_SECONDS),
        state=_state(run, locks),
        started=datetime.fromtimestamp(run.started / 1_000, UTC).isoformat(timespec="seconds"),
    )


def _state(run: TrackedRun, locks: RunLocks) -> str:
    if run.status == "FINISHED" and run.is_pruned:
        return "pruned"
    if run.status == "FINISHED":
        return "finished" if run.is_evaluated else "trained"
    return "cut off" if was_left(run, locks) else run.status.lower()


def was_left(run: TrackedRun, locks: RunLocks) -> bool:
    """Return whether a run says that it is running, and nobody is at it, as far as that can be told from here."""
    if run.status != "RUNNING" or run.has_remote_checkpoint:
        return False
    try:
        return locks.exists(run.checkpoint) and not locks.is_held(run.checkpoint)
    except DataError:  # a name that the pipeline has not written
        return False
