"""Test the model of a run on the held-out images; the results go onto that run.

pipeline evaluate --run-id 4fdc…
"""

from pipeline.data import processed
from pipeline.errors import TrackingError
from pipeline.progress import Reporter
from pipeline.settings import DataSettings
from pipeline.tracking import connection, schema, store
from pipeline.training import evaluation


def evaluate(settings: DataSettings, reporter: Reporter, run_id: str, *, trust: bool = False) -> str:
    """Evaluate a run's model; return the id of the run.

    Args:
        settings: where the data is that it was trained on.
        reporter: is told the result.
        run_id: the run.
        trust: run the code of a model that is not of this pipeline.

    Raises:
        DataError: the data that the run was trained on is not in ``data_dir``.
        TrackingError: there is no such run, or it holds no model.
        UsageError: the model is not of this pipeline, and not trusted.
    """
    connection.connect(reporter.note, writes=True)
    tags = store.get_run(run_id).tags
    if schema.DATASET_DIGEST not in tags:
        raise TrackingError(
            f"run_id: expected a training run of this pipeline, received {run_id!r}, which trained nothing."
        )
    data = processed.find_by_digest(settings.data_dir, tags[schema.DATASET], tags[schema.DATASET_DIGEST])
    evaluation.evaluate(run_id, data, reporter, trust=trust)
    return run_id
