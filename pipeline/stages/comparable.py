"""Train many runs under an open run and report on them, for comparisons and searches."""

from collections.abc import Sequence

from pipeline import recipes
from pipeline.comparison import grouping, pairwise_tests, report, selection
from pipeline.comparison.grouping import Group
from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution import comparison_run, executors
from pipeline.execution.worker_pool import Executor
from pipeline.model import preflight
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import connection, lifecycle, promotion


def compare(
    trainings: Sequence[Settings],
    reporter: Reporter,
    *,
    count: int | None,
    register: str | None,
    reference: str | None,
    on: str,
) -> str:
    """Train the missing runs, report, and return the id of the comparison's run; failures are raised last.

    The arguments are those of the command: see :mod:`pipeline.stages.compare`.
    """
    connection.connect(reporter.note, writes=True)
    preflight.check_cells(trainings)
    with executors.open_executor(on) as executor:
        if register is not None:
            promotion.check_name(register)
        data, _ = prepare.prepared(trainings[0], reporter)
        trainings = [recipes.fitted(settings, data) for settings in trainings]
        former = pairwise_tests.reference(reference, data.digest) if reference else None
        with comparison_run.opened(trainings, data, remote=executor.remote) as parent:
            finished = trained(trainings, data, reporter, parent=parent, count=count, executor=executor)
    if former is not None:
        pairwise_tests.check_regression(parent, finished, former, str(reference), reporter, register=register)
    if register is not None:
        promotion.promote(reporter, grouping.recommended(finished).best.run_id, register)
    reporter.result(lifecycle.where(parent, "the comparison"))
    return parent


def trained(
    trainings: Sequence[Settings],
    data: DataSet,
    reporter: Reporter,
    *,
    parent: str,
    count: int | None,
    executor: Executor,
) -> list[Group]:
    """Train the missing runs under an open run, and report; return the groups of runs.

    Raises:
        TrainingError: a run failed; the others are done and reported.
    """
    count = count or executor.default_workers(len(trainings))
    outcome = executors.train_all(trainings, data, reporter, parent=parent, count=count, executor=executor)
    failures = {job.name: reason for job, reason in outcome.failures.items()}
    by_run = {done.run_id: job for job, done in outcome.done.items()}
    finished: list[Group] = []
    if by_run:
        selected = selection.of_runs(list(by_run), parent=parent, failures=failures)
        finished = selected.groups
        comparison_run.make_groups(parent, data, finished, by_run, outcome.failures)
        report.report(selected, reporter, data_dir=trainings[0].data_dir, parent=parent)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingError(f"{len(failures)} of {len(trainings)} trainings failed. {reasons}")
    return finished
