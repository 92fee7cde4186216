"""Where a person looks at a run, and what the first screen says of it."""

from pathlib import Path

import mlflow
import pytest

from pipeline.tracking import schema, store, ui
from pipeline.tracking.schema import TrackedRun
from tests.runs import new_run

RUN = TrackedRun(
    run_id="7ab",
    experiment_id="3",
    name="gru",
    status="FINISHED",
    started=0,
    ended=1,
    params={},
    metrics={},
    tags={},
    has_inputs=False,
    is_deleted=False,
)
PAGE = "#/experiments/3/runs/7ab?workflowType=machine_learning"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "with: mlflow ui, then open http://127.0.0.1:5000/"),
        ("sqlite:///{folder}/mlflow.db", "with: mlflow ui, then open http://127.0.0.1:5000/"),
        (
            "sqlite:///{folder}/other.db",
            "with: mlflow ui --backend-store-uri sqlite:///{folder}/other.db, then open http://127.0.0.1:5000/",
        ),
        (
            "postgresql://me:secret@db/runs",
            "with: mlflow ui --backend-store-uri 'postgresql://me:***@db/runs', then open http://127.0.0.1:5000/",
        ),
        ("https://me:secret@host/mlflow/", "at https://host/mlflow/"),
    ],
)
def test_the_sentence_names_the_page_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=tmp_path))

    assert f"Look at it {expected.format(folder=tmp_path)}{PAGE}" == ui._look_at(RUN)


@pytest.mark.usefixtures("new_store")
def test_the_result_stands_before_the_description_unless_a_person_has_written_one() -> None:
    run_id = new_run("gru", schema.of_kind(schema.TRAINING))

    for result in ("Test accuracy 97.00%.", "Test accuracy 98.00%."):
        ui.describe_result(store.get_run(run_id), result)
        lines = store.get_run(run_id).tags["mlflow.note.content"].split("\n\n")
        assert [result, schema.DESCRIPTIONS[schema.TRAINING]] == lines
    store.log_tags(run_id, {"mlflow.note.content": "The one for the paper."})
    ui.describe_result(store.get_run(run_id), "Test accuracy 99.00%.")
    assert "The one for the paper." == store.get_run(run_id).tags["mlflow.note.content"]
