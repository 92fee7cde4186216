"""Parallel jobs with both executors, local processes and a real Ray cluster, and the differences."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DataError, PipelineError, TrackingError, UsageError
from pipeline.execution import executors
from pipeline.execution.executors import Event, Executor, Send
from tests.servers import free_port

Job = tuple[str, Any]


@pytest.fixture(params=["processes", "ray"])
def executor(request: pytest.FixtureRequest) -> Executor:
    """Return the executor of a test; each test runs with both."""
    if request.param == "processes":
        return Executor()
    executor: Executor = request.getfixturevalue("ray_executor").RayExecutor()
    return executor


@pytest.fixture(scope="module")
def ray_executor(nodes: Any) -> Iterator[Any]:
    """Connect to the cluster; return the module, which imports Ray."""
    import ray

    from pipeline.execution import ray_executor

    nodes.complete()
    ray.init(nodes.address, namespace="pipeline", logging_level=logging.ERROR, log_to_driver=False)
    yield ray_executor
    ray.shutdown()


def work(job: Job, send: Send) -> object:
    """Do what a job names; processes and nodes need a function of a module."""
    match job:
        case "square", number:
            send(f"squaring {number}")
            return int(number) ** 2
        case "count", most:  # as far as it may
            return next((number for number in range(1, most) if not send(number)), most)
        case "fail", reason:
            raise DataError(reason)
        case "bug", value:
            raise ZeroDivisionError(value)
        case "die", code:
            os._exit(code)
        case "who", _:
            return os.getpid()
        case "meet", folder:  # waits until another job runs at the same time
            (folder / str(os.getpid())).touch()
            return wait_until(lambda: len(list(folder.iterdir())) > 1)
        case "until", file:
            send("here")
            return wait_until(file.exists)
        case _, file:
            try:
                for _ in range(600):  # Ray interrupts between two statements, not within one
                    send("waits")
                    time.sleep(0.1)
            except KeyboardInterrupt:
                time.sleep(1)
                file.write_text("tidied up")
                raise
    return None


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 120
    while not (done := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return done


def happened(executor: Executor, jobs: Iterable[Job], count: int = 1) -> list[Event]:
    """Return the events of jobs, without events that only show that time passes."""
    events: list[Event] = []
    executor.run(work, jobs, count=count, take=events.append)
    return [event for event in events if event.kind != "tick"]


def results(events: Iterable[Event]) -> list[Any]:
    return [event.content for event in events if event.kind == "finished"]


def test_a_job_sends_messages_obeys_and_finishes_and_the_next_depends_on_its_result(executor: Executor) -> None:
    """A search proposes its next trial when it knows the last result."""
    known: list[Event] = []

    def jobs() -> Iterator[Job]:
        yield ("square", 3)
        yield ("count", results(known)[-1])

    def take(event: Event) -> bool:
        known.extend([] if event.kind == "tick" else [event])
        return event != Event("message", ("count", 9), 3)

    executor.run(work, jobs(), count=1, take=take)

    assert ["started", "message", "finished", "started", *["message"] * 3, "finished"] == [each.kind for each in known]
    assert [Event("message", ("square", 3), "squaring 3"), Event("finished", ("square", 3), 9)] == known[1:3]
    assert [Event("message", ("count", 9), 3), Event("finished", ("count", 9), 3)] == known[-2:]


def test_as_many_run_at_a_time_as_asked_for_and_a_failed_job_or_process_fails_alone_with_its_reason(
    executor: Executor, tmp_path: Path
) -> None:
    jobs = [("meet", tmp_path), ("meet", tmp_path), ("fail", "no such file"), ("bug", "1 / 0"), ("die", 3)]
    events = happened(executor, [*jobs, ("square", 5)], count=2)

    reasons = {event.job[0]: event.content for event in events if event.kind == "failed"}
    assert "no such file" == reasons.pop("fail")
    assert re.fullmatch(r"(?s)Traceback.*ZeroDivisionError: 1 / 0", reasons.pop("bug"))
    assert reasons.pop("die").startswith("Its process ended ")
    assert ({}, [True, True, 25]) == (reasons, results(events))


def test_stopping_interrupts_jobs_and_waits_for_their_cleanup(executor: Executor, tmp_path: Path) -> None:
    jobs = [("wait", tmp_path / name) for name in "abc"]  # the cluster has room for two
    spoken: set[Job] = set()

    def take(event: Event) -> None:
        spoken.update({event.job} if event.kind == "message" else {})
        if len(spoken) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executor.run(work, jobs, count=3, take=take)

    assert {"tidied up"} == {path.read_text() for _, path in spoken}


# --- processes of this machine --------------------------------------------------------------------------------------


def test_a_process_is_replaced_after_its_share_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors.Worker, "jobs_left", 2)
    doers = results(happened(Executor(), [("who", 0)] * 3))

    assert [2, 1] == [doers.count(doer) for doer in dict.fromkeys(doers)]


@pytest.mark.parametrize(
    ("cores", "memory", "trainings", "expected"), [(4, 64, 9, 4), (4, 3.2, 9, 2), (4, 64, 3, 3), (4, 0.5, 9, 1)]
)
def test_the_number_of_workers_respects_cores_memory_and_runs(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: float, trainings: int, expected: int
) -> None:
    monkeypatch.setattr(executors, "usable_cores", lambda: cores)
    monkeypatch.setattr(executors, "free_memory", lambda: memory * 1e9)

    assert expected == Executor().default_workers(trainings)


# --- a cluster ------------------------------------------------------------------------------------------------------


def test_a_second_command_in_the_same_experiment_is_refused(ray_executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "first")
    claims = [ray_executor.claim()]
    with pytest.raises(UsageError, match="another command trains on this cluster in experiment first"):
        ray_executor.claim()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "second")
    claims.append(ray_executor.claim())


def test_a_node_with_other_versions_is_refused_by_name(ray_executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.execution import job  # not above: each process imports this file, and MLflow takes seconds

    here = job.versions() | {"keras": "3.0.0"}
    monkeypatch.setattr(job, "versions", lambda: here)  # in this process: the nodes look at their own
    with pytest.raises(UsageError, match=r"^Node \S+ \(127.0.0.\d, \w{8}\): .* got keras 3\.\d+\.\d+ \(there 3\.0\.0"):
        ray_executor.check_nodes(tracks=False)


def test_a_node_that_is_lost_before_ray_notices_does_not_count(
    ray_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = ray_executor.living_nodes()
    lost = {**alive[0], "NodeID": "a" * 56}
    answers = iter([[*alive, lost], [*alive, lost]])
    monkeypatch.setattr(ray_executor, "living_nodes", lambda: next(answers, alive))
    ray_executor.check_nodes(tracks=False)

    monkeypatch.setattr(ray_executor, "living_nodes", lambda: [*alive, lost])
    with pytest.raises(UsageError, match=r"node \S+ \(127.0.0.\d, aaaaaaaa\) answered: .* requirements there"):
        ray_executor.check_nodes(tracks=False)


def test_a_cluster_without_a_core_is_refused(ray_executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "living_nodes", lambda: [{"NodeID": "a", "Resources": {"memory": 8e9}}])

    with pytest.raises(UsageError, match="one of the cluster's 1 nodes must offer a core; none does"):
        ray_executor.check_nodes(tracks=False)


# --- the value of --on -----------------------------------------------------------------------------------------------


def refused(on: str, kind: type[PipelineError] = UsageError) -> str:
    with pytest.raises(kind) as raised, executors.open_executor(on):
        pass
    return str(raised.value)


def test_local_uses_this_machine_and_an_unknown_executor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with executors.open_executor("local") as executor:
        assert isinstance(executor, Executor)
    assert "on: must be local, ray or an address such as ray://HOST:10001; got 'spark'." == refused("spark")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install -e '.[ray]'" in refused("ray")


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql://me:secret@db.example/mlflow"])
def test_a_store_that_other_machines_do_not_reach_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    said = refused("ray", TrackingError)

    assert "Start one with `mlflow server`" in said
    assert "secret" not in said


@pytest.mark.parametrize("on", ["ray", "ray://127.0.0.1:{port}"])
def test_an_address_without_a_cluster_is_refused_within_seconds(on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")

    said = refused(on.format(port=port))

    assert said.startswith("on: no Ray cluster answers at ")
    assert f"127.0.0.1:{port} (RAY_ADDRESS): Connection refused." in said
