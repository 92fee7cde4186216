"""All stages in order, in one process and one MLflow run.

pipeline run --cell gru
mlflow run . --env-manager uv -P cell=gru
"""

import time

from pipeline import tracking
from pipeline.reporting import Reporter
from pipeline.settings import Settings
from pipeline.stages.download import download
from pipeline.stages.evaluate import evaluate_on
from pipeline.stages.preprocess import preprocess
from pipeline.stages.train import fit, open_training


def run(settings: Settings, reporter: Reporter) -> str:
    """Download, preprocess, train and evaluate; return the id of the MLflow run.

    Raises:
        PipelineError: what any of the stages raises.
    """
    tracking.connect()
    started = time.perf_counter()
    download(settings, reporter)
    downloaded = time.perf_counter()
    data = preprocess(settings, reporter)
    seconds = {"seconds_download": downloaded - started, "seconds_preprocess": time.perf_counter() - downloaded}
    with open_training(settings, data) as run_id:
        tracking.log_metrics(run_id, seconds)
        fit(run_id, settings, data, reporter)
        evaluate_on(run_id, data, reporter)
    return run_id
