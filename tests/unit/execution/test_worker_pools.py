"""Jobs side by side: what holds wherever they are done, in processes of this machine and on a real Ray cluster."""

import asyncio
import logging
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest

from pipeline.errors import DataError, UsageError
from pipeline.execution import ray_nodes, worker_pool
from pipeline.execution import ray_pool as on_ray
from pipeline.execution.ray_pool import Claim
from pipeline.execution.worker_pool import Event, Failed, Finished, GoesOn, Moved, Placed, Said, Send, Started, Work

Job = tuple[str, Any]


class Run(Protocol):
    """What does jobs: :func:`processes.run` or :func:`pipeline.execution.ray_pool.run`."""

    def __call__(
        self, work: Work, jobs: Iterable[Any], *, count: int, goes_on: GoesOn = worker_pool.always
    ) -> Generator[Event]: ...


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Start a cluster of two nodes without TensorFlow, and be connected to it."""
    from tests.ray_fixtures import two_nodes  # isort: skip - before ray, which reads the environment
    import ray

    with two_nodes() as made:
        ray.init(made.address, logging_level=logging.ERROR, log_to_driver=False)
        yield made
        ray.shutdown()


@pytest.fixture(params=["processes", "ray"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return what does the jobs of a test: each is done by both."""
    if request.param == "processes":
        return worker_pool.run
    request.getfixturevalue("nodes")
    return on_ray.run


def work(job: Job, send: Send) -> object:
    """Do what a job names; a function of a module, as processes and nodes need it."""
    what, value = job
    if what == "square":
        send(f"squaring {value}")
        return int(value) ** 2
    if what == "count":  # as far as it is let
        return next((number for number in range(1, int(value)) if not send(number)), value)
    if what == "fail":
        raise DataError(str(value))
    if what == "bug":
        raise ZeroDivisionError(value)
    if what == "die":
        os._exit(value)
    if what == "meet":  # waits for another job to be there at the same time
        folder = Path(value)
        (folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 120
        while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(list(folder.iterdir()))
    if what == "wait":
        try:
            for _ in range(600):  # Ray interrupts between two statements, not within one
                send("waits")
                time.sleep(0.1)
        except KeyboardInterrupt:
            time.sleep(1)
            Path(value).write_text("tidied up")
            raise
    if what == "until":  # a file is there
        send("here")
        while not Path(value).exists():
            time.sleep(0.1)
    return None


def happened(run: Run, jobs: list[Job], count: int) -> list[Event]:
    """Return what the executors share of what has happened."""
    own = (worker_pool.Waited, Placed)
    return [event for event in run(work, jobs, count=count) if not isinstance(event, own)]


def test_a_job_starts_speaks_and_ends_in_this_order(run: Run) -> None:
    assert [
        Started(("square", 3)),
        Said(("square", 3), "squaring 3"),
        Finished(("square", 3), 9),
        Started(("square", 4)),
        Said(("square", 4), "squaring 4"),
        Finished(("square", 4), 16),
    ] == happened(run, [("square", 3), ("square", 4)], 1)


def test_as_many_run_at_once_as_asked_for(run: Run, tmp_path: Path) -> None:
    events = happened(run, [("meet", tmp_path), ("meet", tmp_path)], 2)

    assert [Finished(("meet", tmp_path), 2)] * 2 == [event for event in events if isinstance(event, Finished)]


def test_what_fails_or_takes_its_process_down_fails_alone_with_its_reason(run: Run) -> None:
    events = happened(run, [("fail", "no such file"), ("bug", "1 / 0"), ("die", 3), ("square", 5)], 1)

    failed = [event for event in events if isinstance(event, Failed)]
    assert Failed(("fail", "no such file"), "no such file") == failed[0]
    assert failed[1].reason.startswith("Traceback")
    assert failed[1].reason.endswith("ZeroDivisionError: 1 / 0")
    assert ("die", 3) == failed[2].job
    assert failed[2].reason.startswith("Its process ended ")
    assert Finished(("square", 5), 25) in events


def test_stopping_interrupts_jobs_and_waits_until_they_have_tidied_up(run: Run, tmp_path: Path) -> None:
    note = tmp_path / "note"
    job = ("wait", note)
    with closing(run(work, [job, job, job], count=3)) as events:  # on the cluster there is room for two
        assert Started(job) == next(events)
        assert any(event == Said(job, "waits") for event in events)

    assert "tidied up" == note.read_text()


def test_a_job_is_taken_when_there_is_room_for_it_and_what_came_before_is_known(run: Run) -> None:
    """A search asks for its next trial when it knows what the last one gave."""
    results: list[int] = []

    def jobs() -> Iterator[Job]:
        yield ("square", 2)
        while results[-1] < 200:
            yield ("square", results[-1])

    for event in run(work, jobs(), count=1):
        if isinstance(event, Finished):
            results.append(event.result)

    assert [4, 16, 256] == results


def test_a_job_learns_whether_it_is_to_go_on(run: Run) -> None:
    events = run(work, [("count", 9)], count=1, goes_on=lambda job, said: said < 3)

    assert [Finished(("count", 9), 3)] == [event for event in events if isinstance(event, Finished)]


def test_there_may_be_nothing_to_do(run: Run) -> None:
    assert [] == happened(run, [], 2)


# --- what only a cluster can do -------------------------------------------------------------------------------------


def test_a_job_whose_node_is_killed_goes_elsewhere(nodes: Any, tmp_path: Path) -> None:
    """And claims no more cores than a node has that is left."""
    flag = tmp_path / "flag"
    spoken, moved, places = 0, 0, []
    jobs = [("until", flag), ("until", flag), ("square", 7)]
    finished = []
    for event in on_ray.run(work, jobs, count=2, claim=Claim(cores=8)):
        if isinstance(event, Placed):
            places.append(event.machine)
        elif isinstance(event, Said) and event.message == "here":
            spoken += 1
            if spoken == 2:
                nodes.kill()
        elif isinstance(event, Moved):
            moved += 1
            flag.touch()
        elif isinstance(event, Finished):
            finished.append(event.result)

    assert 1 == moved
    assert [None, None, 49] == sorted(finished, key=str, reverse=True)
    assert 2 == len(set(places))  # of the one that is left alone nothing is said
    nodes.add()


def test_a_node_with_other_versions_is_refused_by_both_names(nodes: Any, tmp_path: Path) -> None:
    other = tmp_path / "keras-3.0.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 3.0.0\n")
    third = nodes.add(PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    try:
        from pipeline.execution import (
            ray_cluster,  # not above: it imports MLflow, which the processes of the jobs do without
        )

        with pytest.raises(UsageError, match=r"keras 3\.0\.0 \(here 3\.\d+\.\d+\) on \S+ \(127.0.0.2, \w{8}\)"):
            ray_cluster._check_versions()
    finally:
        nodes.kill(third)


def test_a_node_that_goes_while_all_are_asked_is_left_out(nodes: Any) -> None:
    from pipeline.execution import node, ray_cluster

    nodes.kill(nodes.add())  # which is noticed after some seconds: until then it counts as living

    assert len(ray_nodes.living()) >= len(ray_cluster.on_every_node(node.versions)) == 2


def test_a_cluster_without_a_core_is_refused(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.execution.executors import OnRay

    monkeypatch.setattr(ray_nodes, "living", lambda: [{"NodeID": "a", "Resources": {"memory": 8e9}}])

    with pytest.raises(UsageError, match="expected a Ray cluster with a node that has a core to give, received 1"):
        OnRay()


def test_a_late_question_of_a_lost_attempt_takes_no_answer_from_the_living() -> None:
    async def answers() -> tuple[str, str]:
        mailbox = on_ray._Mailbox()
        await mailbox.begin(1, attempt=1)
        await mailbox.begin(1, attempt=2)
        living = asyncio.create_task(mailbox.ask(1, 2, "on?"))
        await mailbox.take(1.0)
        late = await mailbox.ask(1, 1, "on?")
        await mailbox.answer(1, on_ray.GO)
        return late, await asyncio.wait_for(living, 5)

    assert (on_ray.FENCED, on_ray.GO) == asyncio.run(answers())


def test_an_attempt_whose_place_another_has_taken_says_nothing_more() -> None:
    async def answers() -> list[object]:
        mailbox = on_ray._Mailbox()
        await mailbox.begin(1, attempt=1)
        waits = asyncio.create_task(mailbox.ask(1, 1, "in time"))
        taken = await mailbox.take(1.0)
        await mailbox.begin(1, attempt=2)
        late, put = await mailbox.put(1, 1, "late"), await mailbox.put(1, 2, "in time")
        await mailbox.stop(1)
        return [taken, await waits, late, put, await mailbox.ask(1, 2, "and on")]

    assert [[(1, "in time")], on_ray.FENCED, on_ray.FENCED, on_ray.GO, on_ray.STOP] == asyncio.run(answers())
