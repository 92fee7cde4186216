"""Compare configurations: train them with several seeds in parallel (`compare`); compare finished runs (`report`).

    pipeline compare --cells rnn,lstm,gru --seeds 1,2,3
    pipeline compare --cells gru --hidden-units 64,128 --dry-run
    pipeline report --filter "params.cell = 'gru'"

The same command continues a comparison that was interrupted: finished runs are reused, and interrupted ones resume.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline import recipes
from pipeline.comparison import grouping, pairwise_tests
from pipeline.comparison import report as reports
from pipeline.comparison.report_data import Form
from pipeline.data import prepare, stored
from pipeline.errors import DataError
from pipeline.execution import comparison_run
from pipeline.execution.executors import open_executor
from pipeline.model import preflight
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, Settings, expanded
from pipeline.tracking import connection, promotion, store
from pipeline.training import identity


def compare(
    trainings: Sequence[Settings],
    reporter: Reporter,
    *,
    workers: int | None,
    on: str,
    register: str | None,
    against: str | None,
    dry_run: bool = False,
) -> str | None:
    """Compare runs on the same data, and return the id of the comparison's run; with ``dry_run`` only list the runs."""
    if dry_run:
        _plan(trainings, reporter)
        return None
    promotion.check_name(register)
    connection.connect(reporter.note, writes=True)
    preflight.check_cells(trainings)
    with open_executor(on) as executor:
        data, _ = prepare.prepared(trainings[0], reporter)
        trainings = [recipes.fitted(settings, data) for settings in trainings]
        former = pairwise_tests.reference(against, data.digest) if against else None
        count = workers or executor.default_workers(len(trainings))
        with comparison_run.opened(trainings, data, remote=executor.remote) as parent:
            groups = comparison_run.train(trainings, data, reporter, parent=parent, count=count, executor=executor)
    if former is not None:
        pairwise_tests.check_regression(parent, groups[0], former, str(against), reporter, register=register)
    best = groups[0].best.run_id
    return promotion.conclude(reporter, parent, "the comparison and its report", register=register, best=best)


def _plan(trainings: Sequence[Settings], reporter: Reporter) -> None:
    """Report the runs of a comparison and the state of each, without training."""
    preflight.check_cells(trainings)
    try:
        data = stored.find(trainings[0])
        states = comparison_run.planned([recipes.fitted(settings, data) for settings in trainings], data)
    except DataError as error:
        reporter.note(f"Reusable runs can be listed once the data is available. {error}")
        states = dict.fromkeys(identity.run_names(trainings, trainings[0].dataset), "unknown")
    reporter.table(("run", "state"), [*states.items()])
    counts = ", ".join(f"{count} {state}" for state, count in Counter(states.values()).items())
    reporter.result(f"{grouping.count_of(len(states), 'run')}: {counts}.")


def report(
    settings: DataSettings,
    reporter: Reporter,
    *,
    parent: str | None = None,
    filter: str | None = None,  # noqa: A002 - the name of the option
    output: Path = Path("report"),
    form: Form | None = None,
) -> Path:
    """Report on the children of a run, or on the runs that a filter matches; return the folder of the page.

    With a ``form``, the reporter receives the report as one text, instead of its table and sentences.

    Raises:
        TrackingError: there is no such run, none is finished and evaluated, or they are of different data.
        UsageError: neither or both of ``parent`` and ``filter`` are given, or the filter is not valid.
    """
    groups, left_out = grouping.select(parent, filter, reporter.note)
    # A comparison's own page is not replaced.
    own = None if parent is None or reports.is_on(parent) else store.get_run(parent)
    folder = expanded(output)
    reports.publish(groups, left_out, reporter, data_dir=settings.data_dir, parent=own, output=folder, form=form)
    also = f" The report is also an artifact of run {parent}." if own else ""
    reporter.note(f"Open {folder / reports.PAGE}.{also}")
    return folder
