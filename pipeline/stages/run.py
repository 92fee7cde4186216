"""All stages in order, in one process and one MLflow run.

pipeline run --cell gru
pipeline run --resume 4fdc…
mlflow run . --env-manager uv -P cell=gru
"""

from pipeline.data import prepare
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow
from pipeline.tracking import promotion, store
from pipeline.training import preflight, resuming
from pipeline.training.resuming import Beginning


def run(settings: Settings, reporter: Reporter, *, beginning: Beginning, register: str | None = None) -> str:
    """Download, preprocess, train and evaluate; return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        beginning: whether it goes on with a run that was cut off, or that `train` has left without an evaluation.
        register: the name by which the model is registered and, if it is better than the present one, made champion.

    Raises:
        PipelineError: what any of the stages raises.
    """
    if register is not None:
        promotion.check_name(register)
    preflight.begin([] if beginning.resume else [settings], reporter)
    known, seconds = None, dict[str, float]()
    if beginning.resume:
        known, settings, data = resuming.resumed(beginning.resume, settings, evaluate=True)
    else:
        data, seconds = prepare.prepared(settings, reporter)
    start_tensorflow(settings.shards)
    from pipeline.training import training

    known = known or training.cut_off(settings, data, reporter, new=beginning.new)
    with training.opened(settings, data, resume=known, force=beginning.force) as opened:
        store.log_missing_metrics(store.get_run(opened.run_id), seconds)
        training.finish(opened, reporter, evaluate=True)
    if register is not None:
        promotion.promote(opened.run_id, register, reporter=reporter)
    return opened.run_id
