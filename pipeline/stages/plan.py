"""Say what there is to do of a comparison, and about how long it takes; do none of it.

pipeline compare --cells gru --hidden-units 64,128 --dry-run
"""

from collections.abc import Sequence

from pipeline.data import processed
from pipeline.errors import DataError
from pipeline.execution import default_workers, planning
from pipeline.execution.planning import Plan
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.training import preflight


def plan(trainings: Sequence[Settings], reporter: Reporter, *, count: int | None = None) -> Plan:
    """Return what there is to do of a comparison, and tell the reporter; do none of it.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: a parameter does not fit the data.
    """
    preflight.check(trainings)
    count = count or default_workers.at_once(len(trainings))
    try:
        data = processed.find(trainings[0])
    except DataError as error:
        reporter.note(f"What is taken over can be told when the data is here. {error}")
        data = None
    plan = planning.plan(trainings, data, count=count)
    reporter.table(planning.COLUMNS, planning.rows(plan))
    reporter.result(planning.summary(plan))
    return plan
