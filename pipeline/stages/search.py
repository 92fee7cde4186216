"""Search for better parameters: trials that learn from one another, then a test of the best one over several seeds.

    pipeline search --cell gru --trials 30 --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256

Trials are chosen on validation alone and never see the test images. The same command continues a search that was
interrupted: finished runs are reused, and interrupted ones resume.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.execution import executors
from pipeline.execution.executors import Executor
from pipeline.progress import Reporter
from pipeline.stages import comparable
from pipeline.tracking import connection, lifecycle, promotion
from pipeline.training import preflight
from pipeline.tuning import report, search_run, space
from pipeline.tuning.result import SearchResult
from pipeline.tuning.search_run import Budget
from pipeline.tuning.space import Space
from pipeline.tuning.study import Study


def search(
    given: Mapping[str, Any],
    reporter: Reporter,
    *,
    ranges: str | Sequence[str] | None,
    on: str,
    register: str | None,
    **limits: Any,
) -> str:
    """Search, confirm the winner, report, and return the id of the search's run.

    Args:
        given: the parameters that all trials share.
        reporter: shows the progress and the result.
        ranges: of the parameters that are searched; None: the default ones of each cell.
        on: where it trains: local, ray, or the address of a Ray cluster.
        register: name to register the best trial's model by; it becomes champion if it is better.
        limits: those of a :class:`Budget`.
    """
    chosen, budget = space.of(given, [ranges] if isinstance(ranges, str) else ranges or []), Budget(**limits)
    if register is not None:
        promotion.check_name(register)
    parent, winner = _searched(chosen, budget, reporter, on)
    if register is not None:
        promotion.promote(winner, register, reporter=reporter)
    reporter.result(lifecycle.where(parent, "the search"))
    return parent


def _searched(chosen: Space, budget: Budget, reporter: Reporter, on: str) -> tuple[str, str]:
    """Search and report; return the ids of the search's run and of the winner's.

    Raises:
        TrainingError: no trial is complete, or several in a row have failed.
        UsageError: the search space does not fit the data or the memory, or a trial cannot end in time.
    """
    connection.connect(reporter.note, writes=True)
    preflight.check([chosen.base(cell) for cell in chosen.cells])
    with executors.open_executor(on) as executor:
        data, _ = prepare.prepared(chosen.base(), reporter)
        budget = replace(budget, workers=budget.workers or executor.default_workers(budget.limit))
        search_run.check(chosen, data, budget)
        with search_run.opened(chosen, data, budget, remote=executor.remote) as parent:
            limits = {"workers": budget.count, "limit": budget.limit}
            study = Study(chosen, data, search=parent, **limits, seconds=budget.seconds, executor=executor)
            study.run(reporter)
            result = SearchResult(space=chosen, data=data, trials=study.trials, winner=study.winner())
            report.log_winner(parent, result)
            if budget.confirm and not result.is_start:
                result = _confirmed(result, data, budget, reporter, parent=parent, executor=executor)
            report.report(parent, result, reporter)
    return parent, result.winner.run_id


def _confirmed(
    result: SearchResult, data: DataSet, budget: Budget, reporter: Reporter, *, parent: str, executor: Executor
) -> SearchResult:
    """Train the winner and the start with new seeds, and compare them."""
    trainings = [
        result.space.settings({**parameters, "seed": seed})
        for parameters in (result.winner.parameters, {"cell": result.base.cell})
        for seed in budget.seeds(result.base.seed)
    ]
    groups = comparable.trained(trainings, data, reporter, parent=parent, count=budget.count, executor=executor)
    return result.confirmed(groups)
