"""Train one network into an MLflow run, and log its model.

    pipeline train --cell lstm --epochs 10
    pipeline train --resume 4fdc…

Reads the processed data; the weights that are kept are those of the epoch with the best validation accuracy. A run that
was interrupted is resumed after its last finished epoch, to the same numbers; one that is finished is reused.
"""

from pipeline.data import processed
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection, store, ui
from pipeline.training import preflight, resuming
from pipeline.training.resuming import ExistingRun, RunState


def train(settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool) -> str:
    """Train, unless that was done before; return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of an interrupted run to resume.
        new: train again, even if the same run is finished or was interrupted.
        force: train even if the memory is estimated to be too small.
    """
    existing: ExistingRun | None = None
    connection.connect(reporter.note, writes=True)
    if resume:
        existing, settings, data = resuming.resumed(resume, settings, evaluate=False)
    else:
        preflight.check([settings])
        data = processed.find(settings)
        existing = resuming.find_earlier(settings, data, reporter, new=new, evaluate=False)
    if existing and existing.state is RunState.FINISHED:
        run_id = resuming.reuse(existing.run, data, reporter)
    else:
        start_tensorflow(settings.shards)
        from pipeline.training import training

        with training.open_run(settings, data, resume=existing and existing.run, force=force) as opened:
            training.train(opened, reporter)
        run_id = opened.run_id
    reporter.result(f"Run {run_id} holds the training and its model. {ui.look_at(store.get_run(run_id))}")
    return run_id
