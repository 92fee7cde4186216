"""All stages in order, in one process and one MLflow run.

pipeline run --cell gru
pipeline run --resume 4fdc…
mlflow run . --env-manager uv -P cell=gru
"""

from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, promotion, store, ui
from pipeline.training import preflight, resuming
from pipeline.training.resuming import ExistingRun, RunState


def run(
    settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool, register: str | None
) -> str:
    """Download, preprocess, train and evaluate, unless that was done before; return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of a run to resume, that was interrupted or that `train` has left without an evaluation.
        new: train again, even if the same run is finished or was interrupted.
        force: train even if the memory is estimated to be too small.
        register: the name to register the model under; it becomes champion if it is better than the present one.
    """
    if register is not None:
        promotion.check_name(register)
    connection.connect(reporter.note, writes=True)
    settings, data, seconds, existing = _prepared(settings, reporter, resume=resume, new=new)
    if existing and existing.state is RunState.FINISHED:
        run_id = resuming.reuse(existing.run, data, reporter)
    else:
        run_id = _trained(settings, data, reporter, seconds, existing, force=force)
    if register is not None:
        promotion.promote(run_id, register, reporter=reporter)
    reporter.result(f"Run {run_id} holds all of it. {ui.look_at(store.get_run(run_id))}")
    return run_id


def _prepared(
    settings: Settings, reporter: Reporter, *, resume: str | None, new: bool
) -> tuple[Settings, DataSet, dict[str, float], ExistingRun | None]:
    """Return the parameters, the data, the seconds that each stage took, and the run to reuse or to resume."""
    if resume:
        existing, settings, data = resuming.resumed(resume, settings, evaluate=True)
        return settings, data, {}, existing
    preflight.check([settings])
    data, seconds = prepare.prepared(settings, reporter)
    return settings, data, seconds, resuming.find_earlier(settings, data, reporter, new=new, evaluate=True)


def _trained(
    settings: Settings,
    data: DataSet,
    reporter: Reporter,
    seconds: dict[str, float],
    existing: ExistingRun | None,
    *,
    force: bool,
) -> str:
    """Train and evaluate in a new run, or in the existing one; return its id."""
    start_tensorflow(settings.shards)
    from pipeline.training import training

    with training.open_run(settings, data, resume=existing and existing.run, force=force) as opened:
        store.log_missing_metrics(opened.run, seconds)
        training.train(opened, reporter)
        training.evaluate(opened, reporter)
    return opened.run_id
