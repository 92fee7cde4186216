"""Train several cells with several seeds in parallel, under one MLflow run, and report which is better.

    pipeline compare --cells rnn,lstm,gru --seeds 1,2,3

The same command continues a comparison that was interrupted: finished runs are reused, and interrupted ones resume.
"""

from collections.abc import Sequence

from pipeline.comparison import grouping, regression_check
from pipeline.comparison.grouping import Group
from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.execution import comparison_run, executors
from pipeline.execution.executors import LOCAL
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.stages import comparable
from pipeline.tracking import connection, promotion
from pipeline.training import preflight


def compare(
    trainings: Sequence[Settings],
    reporter: Reporter,
    *,
    count: int | None = None,
    register: str | None = None,
    reference: str | None = None,
    on: str = LOCAL,
) -> str:
    """Train all that is not trained yet, report, and return the id of the comparison's run; failures come last.

    Args:
        trainings: the parameters of each; they share their data.
        reporter: told how far each is.
        count: of trainings in parallel; by default as many as there is room for.
        register: the name to register the best model of the recommended configuration, unless that is worse.
        reference: a model, a run or a comparison that the recommended configuration must not be worse than.
        on: where it trains: local, ray, or the address of a Ray cluster.
    """
    connection.connect(reporter.note, writes=True)
    preflight.check(trainings)
    with executors.open_executor(on) as executor:
        data, former = _prepared(trainings, register, reference, reporter)
        with comparison_run.opened(trainings, data, remote=executor.remote) as parent:
            groups = comparable.trained(trainings, data, reporter, parent=parent, count=count, executor=executor)
    if former is not None:
        regression_check.check(parent, groups, former, str(reference), reporter, register=register)
    if register is not None:
        promotion.promote(grouping.recommended(groups).best.run_id, register, reporter=reporter)
    return parent


def _prepared(
    trainings: Sequence[Settings], register: str | None, reference: str | None, reporter: Reporter
) -> tuple[DataSet, Group | None]:
    """Return the data, and what is checked against, once it is known that the model can be registered."""
    if register is not None:
        promotion.check_name(register)
    data, _ = prepare.prepared(trainings[0], reporter)
    return data, regression_check.reference(reference, data.digest) if reference else None
