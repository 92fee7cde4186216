"""Search for better parameters: trials that learn from one another, then a verdict over seeds on the best of them.

    pipeline search --cell gru --trials 30 --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256

Trials are chosen by validation alone and never see the test images. What was
done before is taken over, what was cut off goes on: the same command continues
a search that was stopped.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.execution import executors
from pipeline.execution.scheduler import LOCAL, Executor
from pipeline.progress import Reporter
from pipeline.stages import comparable
from pipeline.tracking import connection, promotion
from pipeline.training import preflight
from pipeline.tuning import budget as budgets
from pipeline.tuning import report, search_run
from pipeline.tuning.budget import Budget
from pipeline.tuning.result import Confirmation, Findings
from pipeline.tuning.space import Space
from pipeline.tuning.study import Study


def search(space: Space, reporter: Reporter, *, budget: Budget, register: str | None = None, on: str = LOCAL) -> str:
    """Search, confirm what was found, report, and return the id of the search's run.

    Args:
        space: what there is to choose from.
        reporter: told how far each training is, and what was found.
        budget: how much it may take.
        register: the name by which the best trial's model is registered; champion, if it is better.
        on: where it trains: local, ray, or the address of a Ray cluster.

    Raises:
        PipelineError: no trial has finished, or the ranges or the budget do not fit.
    """
    connection.connect(reporter.note)
    preflight.check([space.base(cell) for cell in space.cells])
    if register is not None:
        promotion.check_name(register)
    with executors.opened(on) as executor:
        data, _ = prepare.prepared(space.base(), reporter)
        budget = replace(budget, workers=budget.workers or executor.at_once(budget.limit))
        budgets.check(space, data, budget)
        with search_run.opened(space, data, budget, remote=executor.remote) as parent:
            found = _found(space, data, budget, reporter, parent=parent, executor=executor)
            if budget.confirm and not found.is_start:
                confirmed = _confirmed(found, data, budget, reporter, parent=parent, executor=executor)
                found = replace(found, confirmation=confirmed)
            report.report(parent, found, reporter)
    if register is not None:
        promotion.promote(found.winner.run_id, register, reporter=reporter)
    return parent


def _found(
    space: Space, data: DataSet, budget: Budget, reporter: Reporter, *, parent: str, executor: Executor
) -> Findings:
    """Do the trials, and log which is best."""
    limits = {"workers": budget.count, "limit": budget.limit}
    study = Study(space, data, parent=parent, **limits, seconds=budget.seconds, executor=executor)
    study.run(reporter)
    epochs = space.base().epochs
    found = Findings(space=space, data=data, trials=study.trials, winner=study.winner(), epochs=epochs)
    report.log_winner(parent, found)
    return found


def _confirmed(
    found: Findings, data: DataSet, budget: Budget, reporter: Reporter, *, parent: str, executor: Executor
) -> Confirmation:
    """Train the winner and the start with new seeds, and compare them."""
    seeds: Sequence[int] = budget.seeds(found.base.seed)
    trainings = [
        found.space.settings({**parameters, "seed": seed})
        for parameters in (found.winner.parameters, {"cell": found.base.cell})
        for seed in seeds
    ]
    groups = comparable.trained(trainings, data, reporter, parent=parent, count=budget.count, executor=executor)
    return Confirmation.of(groups, found.base, data)
