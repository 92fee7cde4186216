"""The Ray executor: connect to a cluster, check its nodes, and run workers on them.

Ray knows which processes are alive. A worker is an actor, which ends with this process, the driver; so does an actor
with the name of the experiment: while it is there, no other command trains in the same experiment.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import disk
from pipeline.data.splits import DataSet
from pipeline.errors import PipelineError, TrackingError, UsageError, first_line
from pipeline.execution import ray_node
from pipeline.execution.ray_node import Node, RemoteFile
from pipeline.execution.worker_pool import (
    STOP_SECONDS,
    Event,
    Executor,
    Failed,
    Finished,
    Message,
    Rescheduled,
    Scheduled,
    ShouldContinue,
    Tick,
    Work,
    Worker,
    always,
)
from pipeline.settings import default_shards
from pipeline.startup import SIGNALS
from pipeline.tracking import connection

ADDRESS = "RAY_ADDRESS"
ANSWER_SECONDS = 5

PASSED_ON = ("MLFLOW_", "PIPELINE_")
"""Environment variables with these prefixes are set on the nodes, too: they say where the tracking server is."""

NOT_PASSED_ON = ("MLFLOW_RUN_ID", ray_node.DATA_DIR)

ATTEMPTS = 10
"""Nodes that a job may lose until it fails: it may be the reason."""

SETTLED = 6.0
"""Seconds until it is known whether a process has died with its node."""


class RayExecutor(Executor):
    """Runs jobs on the nodes of the Ray cluster that this process is connected to."""

    remote = True

    def __init__(self, claim: object = None) -> None:
        self._claim = claim  # an actor ends when nothing refers to it
        self._gpus = 1 if any(_amounts("GPU")) else 0

    def default_workers(self, trainings: int) -> int:
        """Return how many trainings to run at a time: one per core, or per GPU if there are any."""
        return max(1, min(trainings, sum(_amounts("GPU" if self._gpus else "CPU"))))

    def cores(self, count: int) -> int:
        """Return an equal share of the cores, at most those of a node and those that a training uses."""
        cores = _amounts("CPU")
        return max(1, min(sum(cores) // count, max(cores, default=1), default_shards()))

    def file_ref(self, path: Path) -> RemoteFile:
        """Put a file, or all files in and below a folder, into the cluster's object store."""
        files, root = ([path], path.parent) if path.is_file() else (filter(Path.is_file, path.rglob("*")), path)
        content = {each.relative_to(root).as_posix(): each.read_bytes() for each in files}
        return RemoteFile(path.relative_to(root), [ray.put(content)])

    def prepared(self, work: Work, data: DataSet) -> Work:
        """Check that each node has room for the data and can write runs; return work that gets the data."""
        _on_every_node(ray_node.check_training, data.name, data.digest, disk.size(data.folder))
        return partial(ray_node.work_with, self.file_ref(data.folder), work)

    def worker(self, count: int) -> "RayWorker":
        """Return a process on the node that the cluster chooses for it."""
        return RayWorker(cores=self.cores(count), gpus=self._gpus)

    def ready(self, workers: Sequence[Worker]) -> list[Any]:
        """Return the handles of those with something to receive; none if nothing has come within a second."""
        handles = [worker.handle for worker in workers]
        return ray.wait(handles, num_returns=len(handles), timeout=0)[0] or ray.wait(handles, timeout=1)[0]


# --- the connection, and the checks ---------------------------------------------------------------------------------


@contextmanager
def connected(on: str, *, tracks: bool) -> Iterator[RayExecutor]:
    """Connect to a Ray cluster whose nodes have the versions of this machine.

    Args:
        on: ``ray`` for the cluster at ``RAY_ADDRESS`` or on this machine, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs write runs.

    Raises:
        UsageError: there is no such cluster; it has other versions or no core to give; another
            command trains on it in the same experiment.
        TrackingError: other machines cannot reach the tracking server.
    """
    if tracks:
        _check_server()
    address = os.environ.get(ADDRESS, "auto") if on == "ray" else on
    _check_answers(address)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    start = partial(ray.init, namespace=disk.PACKAGE.name, logging_level=logging.ERROR, log_to_driver=False)
    try:
        start(address, runtime_env=_environment())
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UsageError(
            f"on: expected a Ray cluster that takes jobs of this Ray ({ray.__version__}) and Python, received from "
            f"{address}: {first_line(error).rstrip('.')}. Start one with `ray start --head`, or set {ADDRESS}."
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray replaces them
            signal.signal(number, handler)
    try:
        _check_cores()
        _on_every_node(ray_node.check_versions, ray_node.versions())
        yield RayExecutor(claim() if tracks else None)
    finally:
        ray.shutdown()


def claim() -> object:
    """Claim the experiment for this process until it ends: return an actor of its name.

    Raises:
        UsageError: another command trains in it.
    """
    experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
    actor: Any = ray.remote(Node)
    try:
        return actor.options(num_cpus=0, name=f"experiment {experiment} at {connection.address()}").remote()
    except ValueError:
        raise UsageError(
            f"on: expected no other command that trains on this cluster in experiment {experiment}, found one. Wait "
            "until it has ended, or set MLFLOW_EXPERIMENT_NAME to another experiment."
        ) from None


def _check_server() -> None:
    address = connection.address()
    if urlsplit(address).scheme not in ("http", "https"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: expected, to train on many machines, a tracking server that all of them reach, such "
            f"as http://HOST:5000, received {address}. Start one with `mlflow server`; see docs/scale.md."
        )


def _check_answers(address: str) -> None:
    """Check that something listens at an address: Ray itself tries for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        endpoint = parts.hostname, parts.port
    except ValueError:  # which Ray explains
        return
    if None in endpoint:  # auto
        return
    try:
        socket.create_connection(endpoint, ANSWER_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"on: expected a Ray cluster at {address} ({ADDRESS}), received: {error.strerror or error}. Start it with "
            f"`ray start --head`, or set {ADDRESS} to another."
        ) from None


def _check_cores() -> None:
    if not any(_amounts("CPU")):
        raise UsageError(
            f"on: expected a Ray cluster with a node that has a core to give, received {len(living_nodes())} "
            "nodes with none. Start a node with `ray start --num-cpus=N`."
        )


def _environment() -> dict[str, Any]:
    """Return what Ray provides to each process on the nodes: the code that runs here, and where it tracks."""
    passed = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON) and key not in NOT_PASSED_ON}
    return {"py_modules": [str(disk.PACKAGE)], "env_vars": passed, "excludes": ["mnist/*", "__pycache__"]}


def living_nodes() -> list[dict[str, Any]]:
    """Return the nodes of the cluster that are alive, as Ray describes them."""
    return [each for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]


def _amounts(resource: str) -> list[int]:
    """Return how much of a resource, such as CPU, each node has."""
    return [int(each["Resources"].get(resource, 0)) for each in living_nodes()]


def _on_every_node(check: Callable[..., None], *arguments: Any) -> None:
    """Call a check on every node; one that dies meanwhile is left out.

    Raises:
        PipelineError: what it has raised, with the name of the node.
        UsageError: a node cannot run this package.
    """
    task: Any = ray.remote(max_retries=0, num_cpus=0)(check)
    started = {}
    for each in living_nodes():
        there = NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)
        name = f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']}, {each['NodeID'][:8]})"
        started[name] = task.options(scheduling_strategy=there).remote(*arguments)
    for name, answer in started.items():
        try:
            ray.get(answer)
        except (TaskUnschedulableError, NodeDiedError):
            continue
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, PipelineError):
                raise type(cause)(f"Node {name}: {cause}") from None
            raise UsageError(
                f"on: expected nodes that run this package, received: {str(error).strip().splitlines()[-1]} "
                "Install the package's requirements on every node."
            ) from None


# --- its workers ----------------------------------------------------------------------------------------------------


class RayWorker(Worker):
    """A process on a node of the cluster.

    Args:
        cores: that it claims of its node.
        gpus: likewise.
    """

    def __init__(self, *, cores: int, gpus: int) -> None:
        actor: Any = ray.remote(Node)
        self._actor = actor.options(num_cpus=cores, num_gpus=gpus, max_concurrency=4).remote()
        self._node: str | None = None  # None: not scheduled yet
        self._taken = 0

    def start(self, work: Work) -> None:
        """Start its job."""
        self._taken += 1
        self._actor.work.remote(work, self.job)
        self.handle = self._actor.take.remote(self._taken)

    def receive(self, answer: ShouldContinue) -> Event:
        """Return what has happened to its job; a message is answered."""
        try:
            kind, content = ray.get(self.handle)
        except ActorUnavailableError:  # the next call tells whether it has died
            self.handle = self._actor.take.remote(self._taken)
            return Tick()
        except RayError as error:
            self.has_died = True
            return self._lost(error)
        if kind is Scheduled:
            self._node, content = content
        if kind is Message:
            self._actor.answer.remote(answer(self.job, content))
        if kind in (Scheduled, Message):
            self._taken += 1
            self.handle = self._actor.take.remote(self._taken)
        event: Event = kind(self.job, content)
        return event

    def _lost(self, error: RayError) -> Event:
        """Return what happens to the job of a process that has died: it starts again if its node has died, too."""
        if isinstance(error, OutOfMemoryError):
            reason = "Ray ended it, since the memory of its node ran out. Run fewer trainings at a time: --workers."
        elif self.attempt <= ATTEMPTS and (self._node is None or _has_died(self._node)):
            return Rescheduled(self.job)
        else:
            reason = f"Its process ended on its node: {first_line(error)}"
        return Failed(self.job, reason)

    def interrupt(self) -> None:
        """Interrupt its job, at its next message."""
        self._actor.answer.remote(None)

    def end(self, seconds: float = STOP_SECONDS) -> None:
        """Wait until its job has ended, and kill it; immediately if it has no node, or after some seconds."""
        deadline, is_over = time.monotonic() + seconds, self._node is None or self.has_died
        while not is_over and ray.wait([self.handle], timeout=max(0, deadline - time.monotonic()))[0]:
            is_over = isinstance(self.receive(always), Finished | Failed | Rescheduled)
        ray.kill(self._actor)


def _has_died(node: str) -> bool:
    """Return whether a node has died, which may be noticed some seconds after the death of a process on it."""
    deadline = time.monotonic() + SETTLED
    while (lives := any(node == each["NodeID"] for each in living_nodes())) and time.monotonic() < deadline:
        time.sleep(0.5)
    return not lives
