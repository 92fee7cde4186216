"""Train several cells with several seeds, side by side, under one MLflow run, and report which is better.

    pipeline compare --cells rnn,lstm,gru --seeds 1,2,3

A training that was done before is taken over; one that was cut off goes on. So
the same command continues a comparison that was stopped.
"""

from collections.abc import Sequence

from pipeline.comparison import against, grouping, report
from pipeline.comparison.grouping import Group
from pipeline.comparison.selection import Selection
from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.jobs import comparing, groups, rehearsals, side_by_side
from pipeline.jobs.side_by_side import Outcome
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import promotion, registry


def compare(
    trainings: Sequence[Settings],
    reporter: Reporter,
    *,
    count: int | None = None,
    register: str | None = None,
    reference: str | None = None,
) -> str:
    """Train all that is not trained yet, report, and return the id of the comparison's run.

    Args:
        trainings: the parameters of each; they share their data.
        reporter: told how far each is.
        count: of trainings side by side; by default as many as the machine takes.
        register: the name by which the best model, by validation, is registered; champion, if it is better.
        reference: a model, a training or a comparison that the best, by validation, must not be worse than.

    Raises:
        PipelineError: a training failed, or the best is worse than the reference; all else is done and reported.
    """
    rehearsals.begin(trainings, reporter)
    data = _prepared(trainings, register, reporter)
    former = against.reference(reference, data.digest) if reference else None
    with comparing.opened(trainings, data) as parent:
        best = _best(parent, trainings, data, reporter, count)
    if register is not None:
        promotion.promote(best.best.run_id, register, reporter=reporter)
    if former is not None:
        against.check(parent, best, former, str(reference), reporter)
    return parent


def _prepared(trainings: Sequence[Settings], register: str | None, reporter: Reporter) -> DataSet:
    if register is not None:
        registry.check_name(register)
    return prepare.prepared(trainings[0], reporter)[0]


def _best(parent: str, trainings: Sequence[Settings], data: DataSet, reporter: Reporter, count: int | None) -> Group:
    """Train what is left to train, report, and return the best group by validation."""
    count = count or side_by_side.at_once(len(trainings))
    jobs = side_by_side.planned(trainings, data, parent=parent, count=count)
    outcome = side_by_side.train_all(jobs, reporter, count=count)
    groups.make(parent, data, jobs, outcome.done)
    return grouping.best_by_validation(_reported(outcome, trainings[0], reporter, parent))


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
