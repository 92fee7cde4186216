"""Register the model of a run and make it champion if it is better, or return to the previous champion.

    pipeline promote --run-id 4fdc…
    pipeline promote --rollback --name mnist-gru
    mlflow models serve -m models:/mnist-gru@champion

The rules are in :mod:`pipeline.tracking.promotion`.
"""

from pipeline.progress import Reporter
from pipeline.tracking import promotion
from pipeline.tracking.promotion import Promotion


def promote(
    reporter: Reporter, run_id: str | None, name: str | None, *, force: bool, rollback: bool, trust: bool
) -> Promotion:
    """Promote the model of a run, or roll a registered model back; return the result.

    Args:
        reporter: shows the result.
        run_id: id of a run whose training has ended.
        name: name of the registered model; by default ``<dataset>-<cell>`` of the run.
        force: make it champion even if it is not better, or was trained on other data.
        rollback: return to the previous champion of ``name`` instead.
        trust: run the code of a model that this pipeline did not log.

    Raises:
        TrackingError: there is no such run or model, or its model does not serve.
        UsageError: no run is named, the present champion was chosen on other data, or the model is not from this
            pipeline.
    """
    if rollback:
        return promotion.rollback(name, run_id=run_id, trust=trust, reporter=reporter)
    return promotion.promote(run_id, name, force=force, trust=trust, reporter=reporter)
