"""Train one network into an MLflow run, and log its model.

    pipeline train --cell lstm --epochs 10
    pipeline train --resume 4fdc…

Reads the processed data; the weights that are kept are those of the epoch with
the best validation accuracy. A training that was cut off goes on after its last
finished epoch, in the same run, to the same numbers.
"""

from pipeline.data import processed
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.training import preflight, resuming
from pipeline.training.resuming import Beginning


def train(settings: Settings, reporter: Reporter, *, beginning: Beginning) -> str:
    """Train, and return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        beginning: whether it goes on with a run, and with which.

    Raises:
        PipelineError: see :mod:`pipeline.training.training`.
    """
    preflight.begin([] if beginning.resume else [settings], reporter)
    known = None
    if beginning.resume:
        known, settings, data = resuming.resumed(beginning.resume, settings, evaluate=False)
    else:
        data = processed.find(settings)
    start_tensorflow(settings.shards)
    from pipeline.training import training

    known = known or training.cut_off(settings, data, reporter, new=beginning.new)
    with training.opened(settings, data, resume=known, force=beginning.force) as opened:
        training.finish(opened, reporter, evaluate=False)
    return opened.run_id
