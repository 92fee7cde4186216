"""Train several cells with several seeds in parallel, under one MLflow run, and report which is better.

    pipeline compare --cells rnn,lstm,gru --seeds 1,2,3
    pipeline compare --cells gru --hidden-units 64,128 --dry-run

The same command continues a comparison that was interrupted: finished runs are reused, and interrupted ones resume.
The workers start while this process imports MLflow.
"""

from collections.abc import Sequence

from pipeline import recipes
from pipeline.errors import DataError
from pipeline.execution import worker_pool
from pipeline.progress import Reporter
from pipeline.settings import Settings


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
    """Compare, and return the id of the comparison's run; with ``dry_run`` only list the runs to do.

    Args:
        trainings: the parameters of each run; all use the same data.
        reporter: shows the progress.
        workers: number of runs in parallel; by default as many as cores and memory allow.
        on: where to train: local, ray, or the address of a Ray cluster.
        register: the name to register the best model of the recommended configuration under.
        against: a model, a run or a comparison that the recommended configuration must not be worse than.
        dry_run: train nothing.
    """
    count = workers or worker_pool.default_workers(len(trainings))
    if dry_run:
        _plan(trainings, reporter, count)
        return None
    with worker_pool.prewarm(min(count, len(trainings)) if on == "local" else 0, "pipeline.execution.job"):
        from pipeline.stages import comparable

        return comparable.compare(trainings, reporter, count=workers, register=register, reference=against, on=on)


def _plan(trainings: Sequence[Settings], reporter: Reporter, count: int) -> None:
    """Report the runs of a comparison and their estimated time, without training."""
    from pipeline.data import processed
    from pipeline.execution import planning
    from pipeline.model import preflight

    preflight.check_cells(trainings)
    try:
        data = processed.find(trainings[0])
        trainings = [recipes.fitted(settings, data) for settings in trainings]
    except DataError as error:
        reporter.note(f"Reusable runs can be listed once the data is available. {error}")
        data = None
    items = planning.plan(trainings, data, count=count)
    reporter.table(planning.COLUMNS, planning.rows(items))
    reporter.result(planning.summary(items, count))
