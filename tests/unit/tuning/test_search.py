"""A search that was interrupted and resumed, with an executor that trains nothing and a real store."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.execution.executors import Event, Executor, Take, Work
from pipeline.execution.job import LOOKS, Opened
from pipeline.progress import Reporter
from pipeline.tracking import lifecycle, schema, store
from pipeline.tuning import space
from pipeline.tuning.search import FAILURES, Study
from tests.runs import new_run
from tests.unit.training.test_resuming import RECORD

SPACE = space.of({"cell": "gru", "dataset": "digits"}, ["hidden_units=4,8,16,32"])


class Pretended(Executor):
    """An executor whose runs finish immediately, except the trials with these numbers, which fail."""

    def __init__(self, *failing: int) -> None:
        self._failing = failing
        self.begun: list[str] = []

    def run(self, work: Work, jobs: Iterable[Any], *, count: int, take: Take) -> None:
        for job in jobs:
            self.begun.append(job.name)
            run_id = new_run(job.name)
            take(Event("started", job))
            take(Event("message", job, Opened(run_id, "trains")))
            if int(job.name.removeprefix("gru-t")) in self._failing:
                lifecycle.end(run_id, "FAILED", "cost not finite")
                take(Event("failed", job, "cost not finite"))
            else:
                store.log_epoch(run_id, RECORD)
                store.log_metrics(run_id, {schema.TRAIN_SECONDS: 1.0})
                lifecycle.end(run_id)
                take(Event("finished", job, run_id))


@pytest.fixture(autouse=True)
def own_store(new_store: Path) -> None:
    """Track into a new store."""


def run(parent: str, data: DataSet, executor: Pretended, limit: int = 5) -> Study:
    study = Study(SPACE, data, search=parent, limit=limit)
    study.run(Reporter(), workers=1, executor=executor)
    return study


@pytest.mark.parametrize(("tags", "begun"), [({}, [6, 7]), ({schema.BEST_TRIAL: "gru-t2"}, [])])
def test_a_search_continues_with_new_trials_unless_it_has_a_winner(
    data: DataSet, tags: dict[str, str], begun: list[int]
) -> None:
    parent, executor = new_run("search-gru"), Pretended()
    before = run(parent, data, Pretended(1, 3, 5))  # three fail, but not in a row
    store.log_tags(parent, tags)
    again = run(parent, data, executor, limit=7)

    assert [f"gru-t{number}" for number in begun] == executor.begun
    assert before.trials == again.trials[:5]
    assert 2 == again.winner().number


def test_several_that_fail_in_a_row_end_a_search(data: DataSet) -> None:
    failing = run(new_run("search-gru"), data, Pretended(*range(1, 10)), limit=9)

    assert FAILURES == len(failing.trials)
    with pytest.raises(TrainingError, match="3 of 3 trials failed"):
        failing.winner()


def test_a_trial_waits_for_another_trial_with_the_same_fingerprint(data: DataSet) -> None:
    """There are four different runs; on a cluster, no file is locked."""
    answers: list[bool | None] = []
    fingerprints: list[str] = []

    class Asking(Pretended):
        def run(self, work: Work, jobs: Iterable[Any], *, count: int, take: Take) -> None:
            todo = list(jobs)
            fingerprints.extend(each.fingerprint for each in todo)
            answers.extend(take(Event("message", each, LOOKS)) for each in todo)
            super().run(work, todo, count=count, take=take)
            answers.append(take(Event("message", todo[-1], LOOKS)))

    run(new_run("search-gru"), data, Asking(), limit=6)

    assert [each not in fingerprints[:number] for number, each in enumerate(fingerprints)] == answers[:-1]
    assert [False, True] == [all(answers[:-1]), answers[-1]]
