"""The table and lines of progress that are shown for the events of parallel runs."""

from dataclasses import replace

import pytest

from pipeline.cli.terminal import cells
from pipeline.epochs import EpochRecord
from pipeline.execution.executors import Event
from pipeline.execution.job import Job, Opened, ProgressBoard
from pipeline.progress import Progress
from tests.unit.execution.test_job import planned_job

RECORD = EpochRecord(
    epoch=1,
    cost=0.5,
    accuracy=0.9,
    val_cost=0.4,
    val_accuracy=0.91,
    learning_rate=0.001,
    epoch_seconds=2.0,
    samples_per_second=100.0,
)
FIRST, SECOND = (planned_job(name, epochs=10) for name in ("gru-s1", "gru-s2"))


def board(*events: Event, jobs: tuple[Job, ...] = (FIRST, SECOND)) -> ProgressBoard:
    made = ProgressBoard(jobs, count=2)
    for event in events:
        made.update(event)
    return made


def rows(*events: Event, jobs: tuple[Job, ...] = (FIRST, SECOND)) -> list[Progress]:
    return [*board(*events, jobs=jobs).rows.values()]


def test_a_run_goes_from_its_start_to_its_end() -> None:
    events = (
        Event("started", FIRST, ""),
        Event("message", FIRST, Opened(run_id="r", state="trains")),
        Event("message", FIRST, RECORD),
        Event("message", FIRST, "evaluates"),
        Event("finished", FIRST, "r"),
    )
    shown = [rows(*events[:count]) for count in range(len(events) + 1)]

    assert ["queued", "starts", "trains", "trains", "evaluates", "finished"] == [first.state for first, _ in shown]
    assert {"queued"} == {second.state for _, second in shown}
    assert RECORD == shown[-1][0].record


def test_with_several_machines_a_row_shows_its_machine() -> None:
    events = (
        Event("started", FIRST, "node-a"),
        Event("rescheduled", FIRST),
        Event("started", FIRST, "node-b"),
        Event("finished", FIRST, "r"),
    )
    shown = [rows(*events[:count])[0].machine for count in range(len(events) + 1)]

    assert ["", "node-a", "", "node-b", ""] == shown
    assert "trains, on node-b" == cells(Progress(name="gru-s1", epochs=2, state="trains", machine="node-b"))[1]


def test_the_remaining_time_depends_on_pace_and_processes_unless_runs_are_not_known_in_advance() -> None:
    events = Event("started", FIRST, ""), Event("message", FIRST, replace(RECORD, epoch=4))
    assert [None, None] == [board(*events[:1]).left, board(*events, jobs=()).left]

    shown = board(*events)

    # By hand: 6 epochs of 2 s are left of the first run, 10 of the second, two at a time.
    assert ([12.0, None], 16.0) == ([row.left for row in shown.rows.values()], shown.left)


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ((Event("message", FIRST, Opened(run_id="r", state="reused")), Event("finished", FIRST, "r")), "reused"),
        ((Event("message", FIRST, "pruned"), Event("finished", FIRST, "r")), "pruned"),
        ((Event("failed", FIRST, "no more memory"),), "failed"),
    ],
)
def test_a_run_that_did_not_finish_by_itself_shows_why(last: tuple[Event, ...], state: str) -> None:
    (shown,) = rows(Event("started", FIRST, ""), *last, jobs=(FIRST,))

    assert (state, 0) == (shown.state, shown.left)
