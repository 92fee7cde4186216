"""Train several cells with several seeds, side by side, under one MLflow run, and report which is better.

    pipeline compare --cells rnn,lstm,gru --seeds 1,2,3

A training that was done before is taken over; one that was cut off goes on. So
the same command continues a comparison that was stopped.
"""

from collections.abc import Sequence

from pipeline.comparison import grid, grouping, report
from pipeline.comparison.grouping import Group
from pipeline.comparison.selection import Selection
from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.jobs import comparing, fingerprints, groups, side_by_side
from pipeline.jobs.side_by_side import Outcome
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import connection, promotion, registry, runs


def compare(
    trainings: Sequence[Settings], reporter: Reporter, *, count: int | None = None, register: str | None = None
) -> str:
    """Train all that is not trained yet, report, and return the id of the comparison's run.

    Args:
        trainings: the parameters of each; they share their data.
        reporter: told how far each is.
        count: of trainings side by side; by default as many as the machine takes.
        register: the name by which the best model, by validation, is registered and, if it is better than the present
            one, made champion.

    Raises:
        TrainingError: a training failed; the others are done and reported.
        PipelineError: what any of the stages raises.
    """
    connection.connect(reporter.note)
    if register is not None:
        registry.check_name(register)
    data, _ = prepare.prepared(trainings[0], reporter)
    parameters = grid.shared([fingerprints.parameters(settings, data) for settings in trainings])
    count = count or side_by_side.at_once(len(trainings))
    with comparing.opened(grid.title(trainings), trainings, data, parameters) as parent:
        reported = trained(trainings, data, reporter, parent=parent, count=count)
    if register is not None:
        _promote_best(grouping.best_by_validation(reported), register, reporter)
    return parent


def trained(
    trainings: Sequence[Settings], data: DataSet, reporter: Reporter, *, parent: str, count: int
) -> list[Group]:
    """Train all that is not trained yet, under a run that is open, and report; return the groups that they make up.

    Raises:
        TrainingError: a training failed; the others are done and reported.
    """
    jobs = side_by_side.planned(trainings, data, parent=parent, count=count)
    outcome = side_by_side.train_all(jobs, reporter, count=count)
    groups.make(parent, data, jobs, outcome.done)
    return _reported(outcome, trainings[0], reporter, parent)


def _reported(outcome: Outcome, settings: Settings, reporter: Reporter, parent: str) -> list[Group]:
    """Report on what has ended well, and raise an error if anything has not."""
    reported: list[Group] = []
    failures = {job.name: reason for job, reason in outcome.failures.items()}
    if ended := outcome.done.values():
        taken_over = [done.run_id for done in ended if done.taken_over]
        selected = Selection(run_ids=[done.run_id for done in ended], taken_over=taken_over, failures=failures)
        reported = report.report(selected, reporter, data_dir=settings.data_dir, parent=parent)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingError(f"{len(failures)} of {len(failures) + len(ended)} trainings failed. {reasons}")
    return reported


def _promote_best(group: Group, name: str, reporter: Reporter) -> None:
    """Register the model of the best validation accuracy in a group."""
    best = max(group.results, key=lambda result: result.metrics[runs.BEST_VAL_ACCURACY])
    promotion.promote(best.run_id, name, reporter=reporter)
