"""Train one network into an MLflow run, and log its model.

    pipeline train --cell lstm --epochs 10
    pipeline train --resume 4fdc…

Reads the processed data; the weights that are kept are those of the epoch with the best validation accuracy. A run that
was interrupted is resumed after its last finished epoch, to the same numbers; one that is finished is reused.
"""

from pipeline.data import prepare, processed
from pipeline.data.splits import DataSet
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import lifecycle, store, ui
from pipeline.training import fingerprints, preflight, resuming
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.resuming import Beginning, State


def train(settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool) -> str:
    """Train, and return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of an interrupted run to resume.
        new: train again, even if the same run is finished or was interrupted.
        force: train even if the memory is estimated to be too small.

    Raises:
        PipelineError: see :mod:`pipeline.training.training`.
    """
    run_id = trained(settings, reporter, Beginning(resume=resume, new=new, force=force), whole=False)
    reporter.result(f"Run {run_id} holds the training and its model. {ui.look_at(store.get_run(run_id))}")
    return run_id


def trained(settings: Settings, reporter: Reporter, how: Beginning, *, whole: bool) -> str:
    """Train unless the same run is finished, and return the id of the run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        how: whether to resume, to reuse, or to train again.
        whole: prepare the data before, and evaluate afterwards.
    """
    preflight.begin([] if how.resume else [settings], reporter)
    known, seconds = None, dict[str, float]()
    if how.resume:
        known, settings, data = resuming.resumed(how.resume, settings, evaluate=whole)
    elif whole:
        data, seconds = prepare.prepared(settings, reporter)
    else:
        data = processed.find(settings)
    if not how.resume and not how.new and (run_id := _finished(settings, data, evaluate=whole)):
        reporter.note(f"Already trained as run {run_id}; --new trains again.")
        return run_id
    start_tensorflow(settings.shards)
    from pipeline.training import training

    known = known or training.cut_off(settings, data, reporter, new=how.new)
    with training.opened(settings, data, resume=known, force=how.force) as opened:
        store.log_missing_metrics(store.get_run(opened.run_id), seconds)
        training.finish(opened, reporter, evaluate=whole)
    return opened.run_id


def _finished(settings: Settings, data: DataSet, *, evaluate: bool) -> str | None:
    """Return the id of a finished run of the same training; None also under ``mlflow run``, which has opened a run."""
    if lifecycle.in_project_run():
        return None
    place = Checkpoints(settings.data_dir)
    twin = resuming.find_twin(fingerprints.of(settings, data), place, evaluate=evaluate)
    return twin.run.run_id if twin and twin.state is State.ENDED else None
