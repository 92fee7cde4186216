"""Trainings side by side under a run that is open, and the report on them: what `compare` and `search` share."""

from collections.abc import Sequence

from pipeline.comparison import report
from pipeline.comparison.grouping import Group
from pipeline.comparison.selection import Selection
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution import groups, scheduler
from pipeline.execution.scheduler import Executor, Outcome
from pipeline.progress import Reporter
from pipeline.settings import Settings


def trained(
    trainings: Sequence[Settings], data: DataSet, reporter: Reporter, *, parent: str, count: int, executor: Executor
) -> list[Group]:
    """Train all that is not trained yet, under a run that is open, and report; return the groups that they make up.

    Raises:
        TrainingError: a training failed; the others are done and reported.
    """
    jobs = scheduler.planned(trainings, data, parent=parent, cores=executor.cores(count))
    outcome = scheduler.train_all(jobs, data, reporter, count=count, executor=executor)
    groups.make(parent, data, jobs, outcome.done)
    return _reported(outcome, trainings[0], reporter, parent)


def _reported(outcome: Outcome, settings: Settings, reporter: Reporter, parent: str) -> list[Group]:
    """Report on what has ended well, and raise an error if anything has not."""
    failures = {job.name: reason for job, reason in outcome.failures.items()}
    reported: list[Group] = []
    if ended := outcome.done.values():
        taken_over = [done.run_id for done in ended if done.taken_over]
        selected = Selection(run_ids=[done.run_id for done in ended], taken_over=taken_over, failures=failures)
        reported = report.report(selected, reporter, data_dir=settings.data_dir, parent=parent)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingError(f"{len(failures)} of {len(failures) + len(ended)} trainings failed. {reasons}")
    return reported
