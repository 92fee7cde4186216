"""Test the model of a run on the held-out images; the results go onto that run.

pipeline evaluate --run-id 4fdc…
"""

from pathlib import Path

from pipeline.data import processed
from pipeline.errors import TrackingError
from pipeline.progress import Reporter
from pipeline.tracking import connection, schema, store
from pipeline.training import evaluation


def evaluate(run_id: str, data_dir: Path, reporter: Reporter, *, trust: bool = False) -> float:
    """Evaluate a run's model and return its test accuracy, a fraction.

    Args:
        run_id: the run.
        data_dir: where the data is that it was trained on.
        reporter: is told the result.
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
    data = processed.find_by_digest(data_dir, tags[schema.DATASET], tags[schema.DATASET_DIGEST])
    return evaluation.evaluate(run_id, data, reporter, trust=trust)
