"""What is checked before and after one run is trained in a process of its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.data import prepare
from pipeline.errors import TrainingError
from pipeline.execution import job
from pipeline.execution.executors import Event, Executor, FileRef, Take
from pipeline.execution.job import Job, Opened
from pipeline.model import custom_cells
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import schema, store
from tests.runs import new_run


def planned_job(name: str = "n", **settings: object) -> Job:
    return Job(settings=Settings.of(settings), name=name, parent="p", dataset="d", digest="0", fingerprint="f", cores=1)


def test_a_cell_that_was_edited_after_the_others_started_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process reads the file by itself, the last of them long after the first."""
    file = tmp_path / "edited_cells.py"
    file.write_text("class Cell: ...")
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings.of({"dataset": "digits", "data_dir": tmp_path, "cell": "edited_cells:Cell"})
    data, _ = prepare.prepared(settings, Reporter())
    planned = Job.of("n", settings, data, parent="p", cores=1)
    file.write_text("class Cell: units = 1")
    custom_cells.source.cache_clear()  # as in another process

    with pytest.raises(TrainingError, match=r"code: .* the file of edited_cells:Cell, or this package, has changed"):
        job.train(planned, lambda message: True, files=FileRef(data.folder))


def test_the_run_of_a_job_that_fails_is_ended_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own process may have died."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # what others have set
    run_id = new_run("gru-s1")

    class Failing(Executor):
        def run(self, work: Any, jobs: Iterable[Any], *, count: int, take: Take) -> None:
            (planned,) = jobs
            take(Event("started", planned, ""))
            take(Event("message", planned, Opened(run_id=run_id, state="trains")))
            take(Event("failed", planned, "the reason"))

    settings = Settings.of({"dataset": "digits", "data_dir": tmp_path})
    todo = [("gru-s1", settings)]
    ended = job.run_jobs(
        todo, prepare.prepared(settings, Reporter())[0], Reporter(), parent="p", count=1, executor=Failing()
    )

    assert {"gru-s1": ("failed", "the reason")} == {name: (each.kind, each.content) for name, each in ended.items()}
    run = store.get_run(run_id)
    assert ("FAILED", "the reason") == (run.status, run.tags[schema.ERROR])
