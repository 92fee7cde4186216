"""What is shown of trainings side by side, from what they send."""

from dataclasses import replace

from pipeline.cli.terminal import cells
from pipeline.epochs import EpochRecord
from pipeline.execution.executors import ProgressBoard
from pipeline.execution.grid import grid
from pipeline.execution.job import Done, Job, Opened
from pipeline.execution.worker_pool import Failed, Finished, Message, Rescheduled, Scheduled, Started
from pipeline.progress import Progress

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


def board(cells: str = "gru", seeds: str = "1,2") -> tuple[ProgressBoard, *tuple[Job, ...]]:
    jobs = [
        Job(
            settings=settings,
            name=f"{settings.cell}-s{settings.seed}",
            parent="p",
            dataset="d",
            digest="0",
            fingerprint="f",
            cores=1,
        )
        for settings in grid({"cells": cells, "seeds": seeds, "epochs": 10})
    ]
    return ProgressBoard(jobs, count=2), *jobs


def test_a_training_goes_from_its_start_to_its_end() -> None:
    shown, *jobs = board()
    states = [shown.rows[0].state]
    for event in (
        Started(jobs[0]),
        Message(jobs[0], Opened(run_id="r", state="trains")),
        Message(jobs[0], RECORD),
        Message(jobs[0], "evaluates"),
        Finished(jobs[0], Done(run_id="r")),
    ):
        shown.update(event)
        states.append(shown.rows[0].state)

    assert ["queued", "starts", "trains", "trains", "evaluates", "finished"] == states
    assert RECORD == shown.rows[0].record
    assert "queued" == shown.rows[1].state


def test_where_there_are_several_machines_a_row_says_on_which_one_it_is() -> None:
    shown, *jobs = board()
    machines = []
    for event in (
        Started(jobs[0]),
        Scheduled(jobs[0], "node-a"),
        Rescheduled(jobs[0]),
        Scheduled(jobs[0], "node-b"),
        Finished(jobs[0], Done(run_id="r")),
    ):
        shown.update(event)
        machines.append(shown.rows[0].machine)

    assert ["", "node-a", "", "node-b", ""] == machines
    assert "trains, on node-b" == cells(Progress(name="gru-s1", epochs=2, state="trains", machine="node-b"))[1]


def test_the_pace_is_the_median_of_the_epochs() -> None:
    shown, *jobs = board(seeds="1")
    shown.update(Started(jobs[0]))
    for epoch, seconds in enumerate([5.0, 1.0, 2.0, 4.0], start=1):
        shown.update(Message(jobs[0], replace(RECORD, epoch=epoch, epoch_seconds=seconds)))

    # By hand: of 1, 2, 4 and 5 s the middle is 3 s; 6 epochs are left.
    assert 18.0 == shown.rows[0].left


def test_the_time_left_is_what_the_pace_of_its_kind_says_shared_by_the_processes() -> None:
    shown, *jobs = board()
    shown.update(Started(jobs[0]))
    assert shown.left is None
    shown.update(Message(jobs[0], replace(RECORD, epoch=4)))

    # By hand: 6 epochs of 2 s are left of the first, 10 of the second, two at a time.
    assert [12.0, 20.0, 16.0] == [shown.rows[0].left, shown.rows[1].left, shown.left]


def test_a_training_that_is_evaluated_has_not_ended() -> None:
    shown, *jobs = board(seeds="1")
    for event in (Started(jobs[0]), Message(jobs[0], replace(RECORD, epoch=10)), Message(jobs[0], "evaluates")):
        shown.update(event)

    assert 0 != shown.rows[0].left
    shown.update(Finished(jobs[0], Done(run_id="r")))
    assert 0 == shown.rows[0].left


def test_another_cell_has_a_pace_of_its_own() -> None:
    shown, *jobs = board(cells="gru,rnn", seeds="1")
    shown.update(Started(jobs[0]))
    shown.update(Message(jobs[0], RECORD))

    assert shown.rows[1].left is None


def test_what_was_done_before_and_what_fails_says_so() -> None:
    shown, *jobs = board()
    for event in (
        Started(jobs[0]),
        Message(jobs[0], Opened(run_id="r", state="reused")),
        Finished(jobs[0], Done(run_id="r")),
        Started(jobs[1]),
        Failed(jobs[1], "no more memory"),
    ):
        shown.update(event)

    assert ["reused", "failed"] == [row.state for row in shown.rows]
    assert 0 == shown.left
