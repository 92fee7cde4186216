"""A search that was interrupted and resumed, with an executor that trains nothing and a real store."""

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution import worker_pool
from pipeline.execution.job import Done, Opened
from pipeline.execution.worker_pool import Event, Executor, ShouldContinue, Work
from pipeline.progress import Reporter
from pipeline.tracking import lifecycle, schema, store
from pipeline.tuning import space
from pipeline.tuning.search_run import Budget
from pipeline.tuning.study import FAILURES, Study
from tests.runs import new_run
from tests.unit.training.test_checkpoints import RECORD

SPACE = space.of({"cell": "gru", "dataset": "digits"}, ["hidden_units=4,8,16,32"])


class Pretended(Executor):
    """Every training ends well at once, but those of trials with these numbers, which fail."""

    def __init__(self, *failing: int) -> None:
        self._failing = failing
        self.begun: list[str] = []

    def run(
        self, work: Work, jobs: Iterable[Any], *, count: int, answer: ShouldContinue = worker_pool.always
    ) -> Generator[Event]:
        for job in jobs:
            self.begun.append(job.name)
            run_id = new_run(job.name)
            yield worker_pool.Started(job)
            yield worker_pool.Message(job, Opened(run_id=run_id, state="trains"))
            if int(job.name.removeprefix("gru-t")) in self._failing:
                lifecycle.mark_failed(run_id, "cost not finite")
                yield worker_pool.Failed(job, "cost not finite")
            else:
                store.log_epoch(run_id, RECORD)
                store.log_metrics(run_id, {schema.TRAIN_SECONDS: 1.0})
                lifecycle.end(run_id)
                yield worker_pool.Finished(job, Done(run_id=run_id))


@pytest.fixture(autouse=True)
def store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # what others have set


def study(parent: str, data: DataSet, executor: Pretended, limit: int = 5) -> Study:
    return Study(SPACE, data, search=parent, budget=Budget(trials=limit), executor=executor)


def searched(data: DataSet) -> str:
    """Return the run of a search that was stopped after five trials, three of which have failed, not in a row."""
    parent = new_run("search-gru")
    study(parent, data, Pretended(1, 3, 5)).run(Reporter(), workers=1)
    return parent


def test_what_had_failed_is_tried_once_more_and_may_fail_again(data: DataSet) -> None:
    parent, executor = searched(data), Pretended(1, 3, 5)
    again = study(parent, data, executor, limit=7)
    again.run(Reporter(), workers=1)

    assert [f"gru-t{number}" for number in (1, 3, 5, 6, 7)] == executor.begun
    assert 2 == again.winner().number


def test_a_search_that_has_its_winner_repeats_nothing(data: DataSet) -> None:
    parent, executor = searched(data), Pretended()
    store.log_tags(parent, {schema.BEST_TRIAL: "gru-t2"})
    again = study(parent, data, executor)
    again.run(Reporter(), workers=1)

    assert [] == executor.begun
    assert 2 == again.winner().number


def test_several_that_fail_in_a_row_end_a_search(data: DataSet) -> None:
    parent = new_run("search-gru")
    failing = study(parent, data, Pretended(*range(1, 10)), limit=9)
    failing.run(Reporter(), workers=1)

    assert FAILURES == len(failing.trials)
    with pytest.raises(TrainingError, match="3 of 3 trials failed"):
        failing.winner()
    again = study(parent, data, Pretended())
    assert ["running"] * FAILURES == [trial.state for trial in again.trials]
