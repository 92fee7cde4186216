"""The Ray executor: connect to a cluster, check its nodes, and run workers on them.

Ray knows which processes are alive. A worker is an actor, which ends with this process, the driver; so does an actor
with the name of the experiment: while it exists, no other command trains in the same experiment.

A node does not see the driver's disk: data and custom cells come with the jobs, and the driver's code comes from Ray.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import disk
from pipeline.errors import PipelineError, TrackingError, UsageError, first_line, of_library
from pipeline.execution import job as jobs
from pipeline.execution.executors import STOP_SECONDS, Event, Executor, FileRef, Kind, Work, Worker, outcome
from pipeline.settings import default_shards
from pipeline.startup import interruptible
from pipeline.tracking import connection

ADDRESS = "RAY_ADDRESS"

PASSED_ON = ("MLFLOW_", "PIPELINE_")
"""Environment variables with these prefixes are also set on the nodes: they locate the tracking server."""

LOSSES = 3
"""Number of times that a job starts again after its process was lost, usually with its node: it may be the reason."""


class RayExecutor(Executor):
    """Runs jobs on the nodes of the Ray cluster that this process is connected to."""

    remote = True

    def __init__(self, claim: object = None) -> None:
        super().__init__()
        self._claim = claim  # an actor ends when nothing refers to it
        self._gpus = 1 if any(_amounts("GPU")) else 0
        self._losses: Counter[Any] = Counter()

    def default_workers(self, trainings: int) -> int:
        """Return how many runs to train at the same time: one per core, or per GPU if there are any."""
        return max(1, min(trainings, sum(_amounts("GPU" if self._gpus else "CPU"))))

    def cores(self, count: int) -> int:
        """Return an equal share of the cores, at most as many as a node has and as a run can use."""
        cores = _amounts("CPU")
        return max(1, min(sum(cores) // count, max(cores, default=1), default_shards()))

    def file_ref(self, path: Path) -> FileRef:
        """Put a file, or all files in and below a folder, into the cluster's object store."""
        files, root = ([path], path.parent) if path.is_file() else (filter(Path.is_file, path.rglob("*")), path)
        content = {each.relative_to(root).as_posix(): each.read_bytes() for each in files}
        return RemoteFile(path.relative_to(root), ray.put(content))

    def worker(self, count: int) -> Worker:
        """Return a process on the node that the cluster chooses for it."""
        return RayWorker(self._losses, num_cpus=self.cores(count), num_gpus=self._gpus)

    def ready(self, handles: list[Any]) -> list[Any]:
        """Return the handles of workers with something to receive; none if nothing has come within a second."""
        return ray.wait(handles, num_returns=len(handles), timeout=0)[0] or ray.wait(handles, timeout=1)[0]


# --- the connection, and the checks ---------------------------------------------------------------------------------


@contextmanager
def connected(on: str, *, tracks: bool) -> Iterator[RayExecutor]:
    """Connect to a Ray cluster whose nodes have the versions of this machine.

    Args:
        on: ``ray`` for the cluster at ``RAY_ADDRESS`` or on this machine, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs write runs.

    Raises:
        DataError, TrackingError: a node cannot write data, or runs.
        UsageError: there is no such cluster; it has other versions or no core to give; another command trains on it in
            the same experiment.
    """
    if tracks and urlsplit(server := connection.address()).scheme not in ("http", "https"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: must be a tracking server that all machines reach, such as http://HOST:5000; got "
            f"{server}. Start one with `mlflow server`; see docs/scale.md."
        )
    address = os.environ.get(ADDRESS, "auto") if on == "ray" else on
    _check_answers(address)
    options: Any = {"namespace": disk.PACKAGE.name, "logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with interruptible():  # Ray replaces the handlers of signals, and this restores them
            ray.init(address, runtime_env=_environment(), **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UsageError(
            f"on: must be a Ray cluster with the same Ray ({ray.__version__}) and Python; {address} answered: "
            f"{first_line(error).rstrip('.')}. Start one with `ray start --head`, or set {ADDRESS}."
        ) from None
    try:
        check_nodes(tracks=tracks)
        yield RayExecutor(claim() if tracks else None)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Check that something listens at an address: Ray itself tries for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdecimal():  # "auto" has no port
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"on: no Ray cluster answers at {address} ({ADDRESS}): {getattr(error, 'strerror', None) or error}. Start "
            f"one with `ray start --head`, or set {ADDRESS} to another."
        ) from None


def _environment() -> dict[str, Any]:
    """Return what Ray provides to each process on the nodes: the code that runs here, and where it tracks."""
    passed = {
        name: text
        for name, text in os.environ.items()
        if name.startswith(PASSED_ON) and name not in ("MLFLOW_RUN_ID", jobs.DATA_DIR)
    }
    return {"py_modules": [str(disk.PACKAGE)], "env_vars": passed, "excludes": ["mnist/*", "__pycache__"]}


def claim() -> object:
    """Claim the experiment for this process until it ends: return an actor of its name.

    Raises:
        UsageError: another command trains in it.
    """
    experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
    actor: Any = ray.remote(SimpleNamespace)  # a class without imports, because only the name counts
    try:
        return actor.options(num_cpus=0, name=f"experiment {experiment} at {connection.address()}").remote()
    except ValueError:
        raise UsageError(
            f"on: another command trains on this cluster in experiment {experiment}. Wait until it has ended, or set "
            "MLFLOW_EXPERIMENT_NAME to another experiment."
        ) from None


def living_nodes() -> list[dict[str, Any]]:
    """Return the nodes of the cluster that are alive, as Ray describes them."""
    return [each for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]


def _amounts(resource: str) -> list[int]:
    """Return how much of a resource, such as CPU, each node has."""
    return [int(each["Resources"].get(resource, 0)) for each in living_nodes()]


def check_nodes(*, tracks: bool) -> None:
    """Check that every node can do the jobs, see :func:`job.check_node`; a node that is lost meanwhile does not count.

    Raises:
        PipelineError: a check has failed, on the node that the message names.
        UsageError: no node has a core, or one cannot run this package.
    """
    nodes = living_nodes()
    if not any(_amounts("CPU")):
        raise UsageError(
            f"on: at least one of the cluster's {len(nodes)} nodes must offer a core; none does. Start a node with "
            "`ray start --num-cpus=N`."
        )
    task: Any = ray.remote(jobs.check_node)  # type: ignore[arg-type]
    started = {}
    for node in nodes:
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = task.options(max_retries=0, num_cpus=0, scheduling_strategy=there)
        started[node["NodeID"]] = name, options.remote(jobs.versions(), tracks=tracks)
    for node_id, (name, answer) in started.items():
        try:
            ray.get(answer)
        except RayError as error:
            if node_id not in [node["NodeID"] for node in living_nodes()]:
                continue  # it was lost shortly before, so Ray still listed it
            cause = getattr(error, "cause", error)
            if problem := cause if isinstance(cause, PipelineError) else of_library(cause):
                raise type(problem)(f"Node {name}: {problem}") from None
            raise UsageError(
                f"on: every node must be able to run this package; node {name} answered: "
                f"{str(error).strip().splitlines()[-1]} Install the package's requirements there."
            ) from None


# --- on a node ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RemoteFile(FileRef):
    """A file or folder of the driver's machine, for a process on a node; ``path`` is its path in a copy.

    Attributes:
        content: a reference to the object store.
    """

    content: Any

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Give a temporary copy; a file has its name there."""
        with TemporaryDirectory() as folder:
            for name, content in ray.get(self.content).items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            yield Path(folder) / self.path


class Node:
    """A process on a node that works on a job in one thread and hands over its messages in another; an actor.

    After each message the job waits for the answer of the driver: if the node was given up, but is alive, nothing more
    is logged.
    """

    def __init__(self) -> None:
        self._messages: SimpleQueue[tuple[Kind, Any]] = SimpleQueue()
        self._answers: SimpleQueue[bool | None] = SimpleQueue()

    def work(self, work: Work, job: Any) -> None:
        """Work on a job."""
        self._messages.put(("started", socket.gethostname()))
        with suppress(KeyboardInterrupt):
            self._messages.put(outcome(work, job, self._send))

    def _send(self, message: Any) -> bool:
        self._messages.put(("message", message))
        if (answer := self._answers.get()) is None:
            raise KeyboardInterrupt
        return answer

    def next(self) -> tuple[Kind, Any]:
        """Wait for the next message, and return it."""
        return self._messages.get()

    def answer(self, should_continue: bool | None) -> None:
        """Answer the last message of the job; None interrupts it, at its next message if it waits for no answer."""
        self._answers.put(should_continue)


# --- its process here -----------------------------------------------------------------------------------------------


class RayWorker(Worker):
    """A process on a node of the cluster.

    Args:
        losses: counts the processes that each job has lost.
        resources: the number of cores and GPUs that it claims of its node.
    """

    def __init__(self, losses: Counter[Any], **resources: int) -> None:
        actor: Any = ray.remote(Node)
        self._actor = actor.options(max_concurrency=4, **resources).remote()
        self._losses, self._is_reachable = losses, False

    def start(self, work: Work) -> None:
        """Start its job."""
        self._work = self._actor.work.remote(work, self.job)
        self.handle = self._actor.next.remote()

    def receive(self) -> Event:
        """Return what has happened to its job; a message has to be answered."""
        try:
            kind, content = ray.get(self.handle)
        except RayError as error:
            self.jobs_left, self._is_reachable = 0, False
            self._losses[self.job] += 1
            if self._losses[self.job] <= LOSSES:
                return Event("rescheduled", self.job)
            return Event("failed", self.job, f"Its process ended on its node: {first_line(error)}")
        if kind == "started":
            self._is_reachable = True
            self.handle = self._actor.next.remote()
        return Event(kind, self.job, content)

    def answer(self, should_continue: bool) -> None:
        """Answer the last message of its job."""
        self._actor.answer.remote(should_continue)
        self.handle = self._actor.next.remote()

    def interrupt(self) -> None:
        """Interrupt its job, at its next message."""
        self._actor.answer.remote(None)

    def end(self) -> None:
        """Wait until its job has ended, at most some seconds, and kill it; immediately if it cannot be reached."""
        ray.wait([self._work], timeout=STOP_SECONDS if self._is_reachable else 0)
        ray.kill(self._actor)
