"""Train one network into an MLflow run, and log its model.

    pipeline train --cell lstm --epochs 10
    pipeline train --resume 4fdc…

Reads the processed data; the weights that are kept are those of the epoch with
the best validation accuracy. A training that was cut off goes on after its last
finished epoch, in the same run, to the same numbers.
"""

from pipeline.data import processed
from pipeline.jobs import resumable
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import connection


def train(settings: Settings, reporter: Reporter, *, resume: str | None = None) -> str:
    """Train, and return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of a run that was cut off; its own parameters hold.

    Raises:
        PipelineError: see :mod:`pipeline.jobs.training`.
    """
    connection.connect(reporter.note)
    run = None
    if resume:
        run, settings, data = resumable.resumed(resume, settings, evaluate=False)
    else:
        data = processed.find(settings)
    start_tensorflow(settings.shards)
    from pipeline.jobs import training

    with training.opened(settings, data, resume=run) as opened:
        training.finish(opened, reporter, evaluate=False)
    return opened.run_id
