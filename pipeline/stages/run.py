"""All stages in order, in one process and one MLflow run.

pipeline run --cell gru
pipeline run --resume 4fdc…
mlflow run . --env-manager uv -P cell=gru
"""

import time

from pipeline.data.processed import DataSet
from pipeline.jobs.resumable import EVALUATED
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.stages.download import download
from pipeline.stages.evaluate import evaluate_on
from pipeline.stages.preprocess import preprocess
from pipeline.stages.train import Training, fit, open_training, resumed
from pipeline.tracking import registry, store
from pipeline.tracking.promotion import promote


def run(settings: Settings, reporter: Reporter, *, resume: str | None = None, register: str | None = None) -> str:
    """Download, preprocess, train and evaluate; return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of a run that was cut off, or that `train` has left without an evaluation; its own parameters
            hold.
        register: the name by which the model is registered and, if it is better than the present one, made champion.

    Raises:
        PipelineError: what any of the stages raises.
    """
    if register is not None:
        registry.check_name(register)
    store.connect()
    seconds: dict[str, float] = {}
    if resume:
        settings, data = resumed(resume, settings, ended=EVALUATED)
    else:
        data, seconds = _prepared(settings, reporter)
    with open_training(settings, data, resume=resume) as opened:
        store.log_missing_metrics(opened.run_id, seconds)
        fit_and_evaluate(opened, reporter)
    if register is not None:
        promote(opened.run_id, register, reporter=reporter)
    return opened.run_id


def fit_and_evaluate(opened: Training, reporter: Reporter) -> None:
    """Do what an open run has not done yet of training and evaluation."""
    fit(opened, reporter)
    if EVALUATED not in store.get_run(opened.run_id).data.metrics:
        evaluate_on(opened.run_id, opened.data, reporter)


def _prepared(settings: Settings, reporter: Reporter) -> tuple[DataSet, dict[str, float]]:
    """Return the data, downloaded and preprocessed, and the seconds that each took, as metrics."""
    started = time.perf_counter()
    download(settings, reporter)
    downloaded = time.perf_counter()
    data = preprocess(settings, reporter)
    return data, {
        "seconds_download": downloaded - started,
        "seconds_preprocess": time.perf_counter() - downloaded,
    }
