"""The first steps of commands whose options decide what is done, before anything slow is imported."""

from collections.abc import Mapping, Sequence
from typing import Any

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
    """Compare, and return the id of the comparison's run; with ``dry_run`` only report what there is to do.

    The workers start while this process imports MLflow.
    """
    from pipeline.execution import worker_pool

    if dry_run:
        from pipeline.stages import plan

        plan.plan(trainings, reporter, count=workers)
        return None
    count = min(workers or worker_pool.default_workers(len(trainings)), len(trainings))
    with worker_pool.prewarm(count if on == "local" else 0, "pipeline.execution.job"):
        from pipeline.stages import compare as stage

        run_id = stage.compare(trainings, reporter, count=workers, register=register, reference=against, on=on)
    return _told(run_id, "the comparison", reporter)


def search(
    given: Mapping[str, Any],
    reporter: Reporter,
    *,
    ranges: str | Sequence[str] | None,
    trials: int | None,
    seconds: int | None,
    confirm: int,
    workers: int | None,
    on: str,
    register: str | None,
) -> str:
    """Search for better parameters, and return the id of the search's run."""
    from pipeline.stages import search as stage
    from pipeline.tuning import space
    from pipeline.tuning.search_run import Budget

    chosen = space.of(given, [ranges] if isinstance(ranges, str) else ranges or [])
    budget = Budget(trials=trials, seconds=seconds, confirm=confirm, workers=workers)
    run_id = stage.search(chosen, reporter, budget=budget, register=register, on=on)
    return _told(run_id, "the search", reporter)


def _told(run_id: str, what: str, reporter: Reporter) -> str:
    from pipeline.tracking import store, ui

    reporter.result(f"Run {run_id} holds {what}. {ui.look_at(store.get_run(run_id))}")
    return run_id


def predict(
    reporter: Reporter,
    *,
    paths: Sequence[str],
    model: str,
    output: str | None,
    as_json: bool,
    by_step: bool,
    column: str | None,
    on: str,
    trust: bool,
) -> None:
    """Classify the images at some paths: into a folder, with a file for each input, or as one table."""
    from pipeline.serving import storage
    from pipeline.serving.batches import Reading

    reading = Reading(column=column, by_step=by_step)
    if output and storage.is_folder(output) and not as_json:
        from pipeline.stages import predict_folder

        predict_folder.predict_folder(paths, model, output, reading, reporter, on=on, trust=trust)
    else:
        from pipeline.stages import predict as stage

        stage.check_local(paths, output, on)
        stage.predict(paths, model, output, reading, reporter, as_json=as_json, trust=trust)
