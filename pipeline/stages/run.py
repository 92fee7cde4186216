"""Do one run: all stages in order (`run`), or only training or evaluation (`train`, `evaluate`).

pipeline run --cell gru
pipeline train --resume 4fdc…
pipeline evaluate --run-id 4fdc…

An interrupted run is resumed after its last finished epoch, and gives the same numbers. A finished run is reused.
"""

from pipeline import recipes
from pipeline.data import prepare, stored
from pipeline.errors import TrackingError
from pipeline.model import preflight
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, promotion, schema, store
from pipeline.training import evaluation, resuming


def run(
    settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool, register: str | None
) -> str:
    """Download, preprocess, train and evaluate, or reuse an existing run; return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: shows the progress.
        resume: the id of a run to resume: an interrupted one, or one that was trained but not evaluated.
        new: start a new run even if the same run has finished or was interrupted.
        force: train even if the estimated memory is too small.
        register: name under which the model is registered; it becomes champion if it is better than the present one.
    """
    promotion.check_name(register)
    run_id = _trained(settings, reporter, resume=resume, new=new, force=force, all_stages=True)
    return promotion.conclude(reporter, run_id, "the results", register=register)


def train(settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool) -> str:
    """Train on the processed data, or reuse an existing run; return the id of the MLflow run.

    The arguments are described in :func:`run`.
    """
    run_id = _trained(settings, reporter, resume=resume, new=new, force=force, all_stages=False)
    return promotion.conclude(reporter, run_id, "the run and its model")


def _trained(
    settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool, all_stages: bool
) -> str:
    """Return the id of a new, resumed or reused run."""
    connection.connect(reporter.note, writes=True)
    seconds: dict[str, float] = {}
    used: schema.TrackedRun | None = None
    if resume:
        used, settings, data = resuming.resumed(resume, settings, evaluate=all_stages)
    else:
        preflight.check_cells([settings])
        data, seconds = prepare.prepared(settings, reporter) if all_stages else (stored.find(settings), {})
        settings = recipes.fitted(settings, data)
        if not new:
            used, state = resuming.find_earlier(settings, data, reporter, evaluate=all_stages)
        if used and state is resuming.RunState.FINISHED:
            if used.is_evaluated:
                reporter.result(evaluation.summary(used.metrics, data))
            return used.run_id
    start_tensorflow(settings.shards)
    from pipeline.training import training

    with training.open_run(settings, data, resume=used, force=force) as opened:
        store.log_metrics(opened.run_id, {} if used else seconds)
        training.train(opened, settings, data, reporter)
        if all_stages and not opened.is_evaluated:
            evaluation.evaluate(opened, data, reporter)
    return opened.run_id


def evaluate(settings: DataSettings, reporter: Reporter, run_id: str, *, trust: bool = False) -> str:
    """Test the model of a run on the test images, and log the results on that run; return its id.

    Args:
        settings: the folder of the data that the run was trained on.
        reporter: shows the result.
        run_id: the run.
        trust: run the code of a model that this pipeline did not log.

    Raises:
        DataError: the data that the run was trained on is not in ``data_dir``.
        TrackingError: there is no such run, or it has no model.
        UsageError: the model is not from this pipeline, and not trusted.
    """
    connection.connect(reporter.note, writes=True)
    tested = store.get_run(run_id)
    if schema.DATASET_DIGEST not in tested.tags:
        raise TrackingError(f"run_id: must be a training run of this pipeline; run {run_id} is not one.")
    dataset, digest = tested.tags[schema.DATASET], tested.tags[schema.DATASET_DIGEST]
    evaluation.evaluate(tested, stored.find_by_digest(settings.data_dir, dataset, digest), reporter, trust=trust)
    return run_id
