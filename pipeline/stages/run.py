"""All stages in order, in one process and one MLflow run.

pipeline run --cell gru
pipeline run --resume 4fdc…
mlflow run . --env-manager uv -P cell=gru
"""

from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.stages import train
from pipeline.tracking import promotion, store, ui
from pipeline.training.resuming import Beginning


def run(
    settings: Settings, reporter: Reporter, *, resume: str | None, new: bool, force: bool, register: str | None
) -> str:
    """Download, preprocess, train and evaluate; return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of a run to resume, that was interrupted or that `train` has left without an evaluation.
        new: train again, even if the same run is finished or was interrupted.
        force: train even if the memory is estimated to be too small.
        register: the name to register the model under; it becomes champion if it is better than the present one.

    Raises:
        PipelineError: what any of the stages raises.
    """
    if register is not None:
        promotion.check_name(register)
    run_id = train.trained(settings, reporter, Beginning(resume=resume, new=new, force=force), whole=True)
    if register is not None:
        promotion.promote(run_id, register, reporter=reporter)
    reporter.result(f"Run {run_id} holds all of it. {ui.look_at(store.get_run(run_id))}")
    return run_id
