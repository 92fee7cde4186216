"""Jobs on a real Ray cluster of two nodes on this machine, without TensorFlow."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.ray_fixtures import two_nodes  # isort: skip - before ray, which reads the environment

import ray

from pipeline.errors import DataError
from pipeline.jobs import processes
from pipeline.jobs import ray as executor
from pipeline.jobs.processes import Event, Failed, Finished, Moved, Said, Send, Started


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as made:
        ray.init(made.address, logging_level=logging.ERROR, log_to_driver=False)
        yield made
        ray.shutdown()


def work(job: tuple[str, Any], send: Send) -> object:
    """Do what a job names."""
    what, value = job
    if what == "square":
        send(f"squaring {value}")
        return int(value) ** 2
    if what == "count":  # as far as it is let
        return next((number for number in range(1, int(value)) if not send(number)), value)
    if what == "fail":
        raise DataError(str(value))
    if what == "die":
        os._exit(3)
    if what == "wait":
        try:
            send("waits")
            for _ in range(600):  # Ray interrupts between two statements, not within one
                time.sleep(0.1)
        except KeyboardInterrupt:
            time.sleep(1)
            Path(value).write_text("tidied up")
            raise
    if what == "until":  # a file is there; says where it is
        send(ray.get_runtime_context().get_node_id())
        while not Path(value).exists():
            time.sleep(0.1)
    return None


def happened(jobs: list[tuple[str, Any]], count: int) -> list[Event]:
    return [event for event in executor.run(work, jobs, count=count) if not isinstance(event, processes.Waited)]


def test_a_job_starts_speaks_and_ends_in_this_order(cluster: Any) -> None:
    assert [
        Started(("square", 3)),
        Said(("square", 3), "squaring 3"),
        Finished(("square", 3), 9),
        Started(("square", 4)),
        Said(("square", 4), "squaring 4"),
        Finished(("square", 4), 16),
    ] == happened([("square", 3), ("square", 4)], 1)


def test_what_fails_or_takes_its_process_down_fails_alone(cluster: Any) -> None:
    events = happened([("fail", "no such file"), ("die", 0), ("square", 5)], 1)

    failed = [event for event in events if isinstance(event, Failed)]
    assert Failed(("fail", "no such file"), "no such file") == failed[0]
    assert failed[1].reason.startswith("Its process ended on its node")
    assert Finished(("square", 5), 25) in events


def test_a_job_is_taken_when_there_is_room_and_what_came_before_is_known(cluster: Any) -> None:
    results: list[int] = []

    def jobs() -> Iterator[tuple[str, int]]:
        yield ("square", 2)
        while results[-1] < 200:
            yield ("square", results[-1])

    for event in executor.run(work, jobs(), count=1):
        if isinstance(event, Finished):
            results.append(event.result)

    assert [4, 16, 256] == results


def test_stopping_interrupts_jobs_and_waits_until_they_have_tidied_up(cluster: Any, tmp_path: Path) -> None:
    note = tmp_path / "note"
    job = ("wait", note)
    with closing(executor.run(work, [job, job, job], count=3)) as events:  # there is room for two
        assert any(event == Said(job, "waits") for event in events)

    assert "tidied up" == note.read_text()


def test_a_job_whose_node_is_killed_goes_elsewhere(cluster: Any, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    jobs = [("until", flag), ("square", 7)]
    second = next(iter(cluster.worker_nodes))
    nodes, moved = [], 0
    hold = [("until", flag), ("until", flag)]
    for event in executor.run(work, [*hold, *jobs[1:]], count=2):
        if isinstance(event, Said) and event.job[0] == "until":
            nodes.append(event.message)
            if len(nodes) == 2:
                cluster.remove_node(second, allow_graceful=False)
        elif isinstance(event, Moved):
            moved += 1
            flag.touch()
        if isinstance(event, Finished) and event.job[0] == "square":
            assert 49 == event.result

    assert 1 == moved
    assert {node["NodeID"] for node in ray.nodes()} == set(nodes)  # type: ignore[no-untyped-call]


def test_a_job_learns_whether_it_is_to_go_on(cluster: Any) -> None:
    events = executor.run(work, [("count", 9)], count=1, goes_on=lambda job, said: said < 3)

    assert [Finished(("count", 9), 3)] == [event for event in events if isinstance(event, Finished)]


def test_an_attempt_whose_place_another_has_taken_says_nothing_more() -> None:
    async def answers() -> list[object]:
        mailbox = executor._Mailbox()
        await mailbox.begin(1, attempt=1)
        waits = asyncio.create_task(mailbox.ask(1, 1, "in time"))
        taken = await mailbox.take(1.0)
        await mailbox.begin(1, attempt=2)
        late, put = await mailbox.put(1, 1, "late"), await mailbox.put(1, 2, "in time")
        await mailbox.stop(1)
        return [taken, await waits, late, put, await mailbox.ask(1, 2, "and on")]

    assert [[(1, "in time")], executor.FENCED, executor.FENCED, executor.GO, executor.STOP] == asyncio.run(answers())
