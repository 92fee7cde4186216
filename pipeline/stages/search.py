"""Search for better parameters: trials that learn from one another, then a test of the best one over several seeds.

    pipeline search --cell gru --trials 30 --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256

Trials are chosen on validation alone and never see the test images. The same command continues a search that was
interrupted: finished runs are reused, and interrupted ones resume.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.execution import executors
from pipeline.execution.executors import LOCAL, Executor
from pipeline.progress import Reporter
from pipeline.stages import comparable
from pipeline.tracking import connection, promotion
from pipeline.training import preflight
from pipeline.tuning import report, search_run
from pipeline.tuning.result import SearchResult
from pipeline.tuning.search_run import Budget
from pipeline.tuning.space import Space
from pipeline.tuning.study import Study


def search(space: Space, reporter: Reporter, *, budget: Budget, register: str | None = None, on: str = LOCAL) -> str:
    """Search, confirm the winner, report, and return the id of the search's run.

    Args:
        space: the search space.
        reporter: shows the progress and the result.
        budget: the limits.
        register: name to register the best trial's model by; it becomes champion if it is better.
        on: where it trains: local, ray, or the address of a Ray cluster.

    Raises:
        TrainingError: no trial is complete, or several in a row have failed.
        UsageError: the search space does not fit the data or the memory, or a trial cannot end in time.
    """
    connection.connect(reporter.note, writes=True)
    preflight.check([space.base(cell) for cell in space.cells])
    if register is not None:
        promotion.check_name(register)
    with executors.open_executor(on) as executor:
        data, _ = prepare.prepared(space.base(), reporter)
        budget = replace(budget, workers=budget.workers or executor.default_workers(budget.limit))
        search_run.check(space, data, budget)
        with search_run.opened(space, data, budget, remote=executor.remote) as parent:
            result = _searched(space, data, budget, reporter, parent=parent, executor=executor)
            if budget.confirm and not result.is_start:
                result = _confirmed(result, data, budget, reporter, parent=parent, executor=executor)
            report.report(parent, result, reporter)
    if register is not None:
        promotion.promote(result.winner.run_id, register, reporter=reporter)
    return parent


def _searched(
    space: Space, data: DataSet, budget: Budget, reporter: Reporter, *, parent: str, executor: Executor
) -> SearchResult:
    """Run the trials, and log which is best."""
    limits = {"workers": budget.count, "limit": budget.limit}
    study = Study(space, data, search=parent, **limits, seconds=budget.seconds, executor=executor)
    study.run(reporter)
    result = SearchResult(space=space, data=data, trials=study.trials, winner=study.winner())
    report.log_winner(parent, result)
    return result


def _confirmed(
    result: SearchResult, data: DataSet, budget: Budget, reporter: Reporter, *, parent: str, executor: Executor
) -> SearchResult:
    """Train the winner and the start with new seeds, and compare them."""
    seeds: Sequence[int] = budget.seeds(result.base.seed)
    trainings = [
        result.space.settings({**parameters, "seed": seed})
        for parameters in (result.winner.parameters, {"cell": result.base.cell})
        for seed in seeds
    ]
    groups = comparable.trained(trainings, data, reporter, parent=parent, count=budget.count, executor=executor)
    return result.confirmed(groups)
