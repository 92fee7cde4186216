"""What a training that is handed to a process makes sure of."""

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.data import processed
from pipeline.data.prepare import download, preprocess
from pipeline.errors import TrainingError
from pipeline.execution import executors, job, worker_pool
from pipeline.execution.job import Job
from pipeline.execution.worker_pool import Event, Executor
from pipeline.model import custom_cells
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import schema, store
from tests.runs import new_run


def test_a_cell_that_was_edited_after_the_others_began_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process reads the file by itself, the last of them long after the first."""
    file = tmp_path / "edited_cells.py"
    file.write_text("class Cell: ...")
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings.of({"dataset": "digits", "data_dir": tmp_path, "cell": "edited_cells:Cell"})
    download(settings, Reporter())
    preprocess(settings, Reporter())
    planned = Job.of(settings, processed.find(settings), name="n", parent="p", cores=1)
    file.write_text("class Cell: units = 1")
    custom_cells.source.cache_clear()  # as in another process

    with pytest.raises(TrainingError, match=r"code: .* the file of edited_cells:Cell, or this package, has changed"):
        job.train(planned, lambda message: True)


def test_the_longest_training_begins_first() -> None:
    """By hand: 784 steps of a GRU are 28 times its rows; two layers in both directions are four times one."""
    settings: list[dict[str, Any]] = [
        {"cell": "lstm"},
        {"cell": "gru", "steps": 784},
        {"cell": "gru", "layers": 2, "direction": "bidirectional"},
        {"cell": "gru", "epochs": 300},
        {"cell": "rnn"},
    ]
    jobs = [
        Job(settings=Settings.of(each), name=str(n), parent="p", dataset="d", digest="0", fingerprint="f", cores=1)
        for n, each in enumerate(settings)
    ]
    assert ["1", "3", "2", "0", "4"] == [each.name for each in sorted(jobs, key=executors._size, reverse=True)]


def planned_job(name: str = "n") -> Job:
    return Job(settings=Settings(), name=name, parent="p", dataset="d", digest="0", fingerprint="f", cores=1)


def test_the_run_of_a_job_that_fails_is_ended_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own process may have died."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # what others have set
    run_id = new_run("gru-s1")

    class Failing(Executor):
        def run(self, work: Any, jobs: Iterable[Any], *, count: int, answer: Any = None) -> Generator[Event]:
            for each in jobs:
                yield worker_pool.Started(each)
                yield worker_pool.Message(each, job.Opened(run_id=run_id, state="trains"))
                yield worker_pool.Failed(each, "the reason")

    nothing: Any = None
    executors.run_jobs([planned_job()], nothing, Reporter(), nothing_else, count=1, executor=Failing())

    run = store.get_run(run_id)
    assert ("FAILED", "the reason") == (run.status, run.tags[schema.ERROR])


def nothing_else(event: Event) -> None:
    pass


def test_of_two_jobs_that_do_the_same_training_one_waits_until_the_other_has_finished() -> None:
    """A search may try the same parameters twice at a time; on a cluster no file is locked."""
    first, second = planned_job("a"), planned_job("b")
    answers: list[bool] = []

    class Asking(Executor):
        def run(
            self, work: Any, jobs: Iterable[Any], *, count: int, answer: Any = worker_pool.always
        ) -> Generator[Event]:
            for each in jobs:
                yield worker_pool.Started(each)
            answers.extend(answer(each, job.LOOKS) for each in (first, second, first))
            yield worker_pool.Finished(first, job.Done(run_id="r"))
            answers.append(answer(second, job.LOOKS))
            yield worker_pool.Finished(second, job.Done(run_id="r"))

    nothing: Any = None
    executors.run_jobs([first, second], nothing, Reporter(), nothing_else, count=2, executor=Asking())

    assert [True, False, True, True] == answers
