"""Many training runs under a run that is open, and the report on them: what `compare` and `search` share."""

from collections.abc import Sequence

from pipeline.comparison import report, selection
from pipeline.comparison.grouping import Group
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution import groups, scheduler
from pipeline.execution.executors import Executor
from pipeline.progress import Reporter
from pipeline.settings import Settings


def trained(
    trainings: Sequence[Settings],
    data: DataSet,
    reporter: Reporter,
    *,
    parent: str,
    count: int | None,
    executor: Executor,
) -> list[Group]:
    """Train all that is not trained yet, under a run that is open, and report; return the groups of runs.

    Raises:
        TrainingError: a run failed; the others are done and reported.
    """
    count = count or executor.default_workers(len(trainings))
    jobs = scheduler.planned(trainings, data, parent=parent, cores=executor.cores(count))
    outcome = scheduler.train_all(jobs, data, reporter, count=count, executor=executor)
    failures = {job.name: reason for job, reason in outcome.failures.items()}
    by_run = {done.run_id: job for job, done in outcome.done.items()}
    finished: list[Group] = []
    if by_run:
        selected = selection.of_runs(list(by_run), parent=parent, failures=failures)
        finished = selected.groups
        groups.make(parent, data, finished, by_run, outcome.failures)
        report.report(selected, reporter, data_dir=trainings[0].data_dir, parent=parent)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingError(f"{len(failures)} of {len(jobs)} trainings failed. {reasons}")
    return finished
