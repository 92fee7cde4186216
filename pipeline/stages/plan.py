"""List what a comparison has to do, and about how long it takes, without doing it.

pipeline compare --cells gru --hidden-units 64,128 --dry-run
"""

from collections.abc import Sequence

from pipeline.data import processed
from pipeline.errors import DataError
from pipeline.execution import planning, worker_pool
from pipeline.execution.planning import Item
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.training import preflight


def plan(trainings: Sequence[Settings], reporter: Reporter, *, count: int | None = None) -> list[Item]:
    """Return and report what a comparison has to do, without doing it.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: a parameter does not fit the data.
    """
    preflight.check(trainings)
    count = count or worker_pool.default_workers(len(trainings))
    try:
        data = processed.find(trainings[0])
    except DataError as error:
        reporter.note(f"Reusable runs can be listed once the data is available. {error}")
        data = None
    items = planning.plan(trainings, data, count=count)
    reporter.table(planning.COLUMNS, planning.rows(items))
    reporter.result(planning.summary(items, count))
    return items
