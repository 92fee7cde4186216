"""Search for better parameters: trials that learn from one another, then a test of the best one over several seeds.

    pipeline search --cell gru --trials 30 --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256

Trials are chosen on validation alone and never see the test images. The same command continues a search that was
interrupted: finished runs are reused, and interrupted ones resume.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.data import prepare
from pipeline.execution import comparison_run, executors
from pipeline.model import preflight
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import connection, promotion
from pipeline.tuning import report, space, study
from pipeline.tuning.report import SearchResult
from pipeline.tuning.space import Space
from pipeline.tuning.study import Budget, Study


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
        ranges: ranges of the searched parameters; by default the ranges in docs/search.md.
        on: where to train: local, ray, or the address of a Ray cluster.
        register: name under which the best trial's model is registered; it becomes champion if it is better.
        limits: fields of a :class:`Budget`.
    """
    chosen, budget = space.of(given, [ranges] if isinstance(ranges, str) else ranges or []), Budget(**limits)
    promotion.check_name(register)
    parent, winner = _searched(chosen, budget, reporter, on)
    return promotion.conclude(reporter, parent, "the search and its report", register=register, best=winner)


def _searched(chosen: Space, budget: Budget, reporter: Reporter, on: str) -> tuple[str, str]:
    """Search and report; return the ids of the search's run and of the winner's.

    Raises:
        TrainingError: no trial is complete, or several in a row have failed.
        UsageError: the search space does not fit the data or the memory.
    """
    connection.connect(reporter.note, writes=True)
    preflight.check_cells([chosen.base(cell) for cell in chosen.cells])
    with executors.open_executor(on) as executor:
        data, _ = prepare.prepared(chosen.base(), reporter)
        chosen = replace(chosen, data=data)
        study.check(chosen, data)
        workers = budget.workers or executor.default_workers(budget.limit)
        with study.opened(chosen, data, budget, remote=executor.remote) as parent:
            running = Study(chosen, data, search=parent, budget=budget, executor=executor)
            running.run(reporter, workers=workers)
            result = SearchResult(space=chosen, data=data, trials=running.trials, winner=running.winner())
            report.log_winner(parent, result)
            if trainings := _confirmation(result, budget):
                groups = comparison_run.train(
                    trainings, data, reporter, parent=parent, count=workers, executor=executor
                )
                result.confirm(groups)
            report.report(parent, result, reporter)
    return parent, result.winner.run_id


def _confirmation(result: SearchResult, budget: Budget) -> list[Settings]:
    """Return the runs that confirm the winner: winner and start with new seeds; none if the winner is the start."""
    start = {"cell": result.base.cell}
    return [
        result.space.settings({**parameters, "seed": seed})
        for parameters in (result.winner.parameters, start)
        for seed in budget.seeds(result.base.seed)
        if not result.is_start
    ]
