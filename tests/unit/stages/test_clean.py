"""The checkpoints in a real store that are no longer needed."""

from pathlib import Path

import pytest

from pipeline.progress import Reporter
from pipeline.stages.housekeeping import clean
from pipeline.tracking import lifecycle, schema, store
from tests.runs import new_run


@pytest.mark.parametrize("kind", [schema.TRAINING, schema.COMPARED])
def test_checkpoints_of_runs_that_another_run_has_finished_are_removed(
    new_store: Path, tmp_path: Path, kind: str
) -> None:
    def started(number: int) -> str:
        checkpoint = f"{number:032x}"
        (tmp_path / "checkpoints" / checkpoint).mkdir(parents=True)
        tags = {schema.KIND: kind, schema.FINGERPRINT: "f", schema.CHECKPOINT: checkpoint}
        run_id = new_run(f"run-{number}", tags)
        if kind == schema.TRAINING:
            store.log_parameters(store.get_run(run_id), {"cell": "gru", "seed": 1})
        return run_id

    interrupted, other = started(1), started(2)
    lifecycle.end(interrupted, "KILLED", "killed")
    name = f"checkpoint {1:032x} of run-1"

    assert name not in clean(Reporter(), data_dir=tmp_path, dry_run=True)
    lifecycle.end(other)
    if kind == schema.TRAINING:
        assert name not in clean(Reporter(), data_dir=tmp_path, dry_run=True)  # the other run has no evaluation yet
        store.log_metrics(other, {schema.TEST_ACCURACY: 0.9})
    assert name in clean(Reporter(), data_dir=tmp_path, dry_run=True)
