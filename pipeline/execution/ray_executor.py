"""The Ray executor: connect to a cluster, check its nodes, and send files to jobs.

Ray knows which processes are alive. The command that trains is known to the cluster by a named actor, which ends with
it, as do its tasks: while it is there, no other command trains in the same experiment.
"""

import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import digests, disk
from pipeline.data.splits import DataSet
from pipeline.errors import PipelineError, TrackingError, UsageError, first_line
from pipeline.execution import node, ray_pool, worker_pool
from pipeline.execution.job import Job
from pipeline.execution.ray_pool import RayPool
from pipeline.execution.worker_pool import Event, ShouldContinue, Work, always
from pipeline.settings import default_shards
from pipeline.startup import SIGNALS
from pipeline.tracking import connection

RAY, ADDRESS = "ray", "RAY_ADDRESS"
ANSWER_SECONDS = 5

PASSED_ON = ("MLFLOW_", "PIPELINE_")
"""Environment variables with these prefixes are set on the nodes, too: they say where the tracking server is."""

NOT_PASSED_ON = ("MLFLOW_RUN_ID", node.DATA_DIR)


class RayExecutor:
    """The nodes of the Ray cluster that this process is connected to."""

    remote = True

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._gpus = 1 if ray_pool.most("GPU") else 0

    def default_workers(self, trainings: int) -> int:
        """Return how many trainings to run at a time: one per core, or per GPU if there are any."""
        return max(1, min(trainings, _total("GPU" if self._gpus else "CPU")))

    def cores(self, count: int) -> int:
        """Return an equal share of the cores, at most those of a node and those that a training uses."""
        return max(1, min(_total("CPU") // count, ray_pool.most("CPU"), default_shards()))

    def train(
        self, jobs: Iterable[Job], data: DataSet, *, count: int, should_continue: ShouldContinue = always
    ) -> Generator[Event]:
        """Check that each node has room for the data and can write runs, and train there."""
        _on_every_node(node.check_training, data.name, data.digest, disk.size(data.folder))
        work = node.NodeWork(self.file_ref(data.folder).copy_to)
        yield from self.run(work, work.collect_cells(jobs), count=count, should_continue=should_continue)

    def run(
        self, work: Work, jobs: Iterable[Any], *, count: int, should_continue: ShouldContinue = always
    ) -> Generator[Event]:
        """Do other jobs on the nodes."""
        pool = RayPool(work, should_continue, self._mailbox, cores=self.cores(count), gpus=self._gpus)
        yield from worker_pool.run_in(pool, jobs, count=count)

    def file_ref(self, path: Path) -> "RemoteFile":
        """Put a file, or all files in and below a folder, into the cluster's object store."""
        files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
        root = path if path.is_dir() else path.parent
        content = {each.relative_to(root).as_posix(): each.read_bytes() for each in files}
        return RemoteFile(None if path.is_dir() else path.name, [ray.put(content)])


@dataclass(frozen=True)
class RemoteFile:
    """A file or folder of the driver's machine, for a process on a node.

    Attributes:
        name: of the file; None: it is a folder.
        content: a reference to the object store; in a list, so that Ray does not fetch it for every task.
    """

    name: str | None
    content: list[Any]
    is_remote = True

    def copy_to(self, folder: Path) -> None:
        """Write the file, or the files of the folder, into another folder."""
        node.unpack(ray.get(self.content[0]), folder)

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Give a temporary copy; a file has its name there."""
        with TemporaryDirectory() as folder:
            self.copy_to(Path(folder))
            yield Path(folder, self.name or "")


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
    address = os.environ.get(ADDRESS, "auto") if on == RAY else on
    _check_answers(address)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    start = partial(ray.init, namespace=digests.PACKAGE.name, logging_level=logging.ERROR, log_to_driver=False)
    try:
        start(address, runtime_env=_environment())
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(
            f"on: expected a Ray cluster that takes jobs of this Ray ({ray.__version__}) and Python, received from "
            f"{address}: {first_line(error).rstrip('.')}. Start one with `ray start --head`, or set {ADDRESS}."
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray replaces them
            signal.signal(number, handler)
    try:
        _check_cores()
        _on_every_node(node.check_versions, node.versions())
        yield RayExecutor(_mailbox(tracks=tracks))
    finally:
        ray.shutdown()


def _mailbox(*, tracks: bool) -> Any:
    """Start the mailbox of this command; one that writes runs is the only one in its experiment."""
    if not tracks:
        return ray_pool.start_mailbox()
    experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
    try:
        return ray_pool.start_mailbox(f"experiment {experiment} at {connection.address()}")
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
    if ray_pool.most("CPU") < 1:
        raise UsageError(
            f"on: expected a Ray cluster with a node that has a core to give, received {len(ray_pool.living_nodes())} "
            "nodes with none. Start a node with `ray start --num-cpus=N`."
        )


def _environment() -> dict[str, Any]:
    """Return what Ray provides to each process on the nodes: the code that runs here, and where it tracks."""
    passed = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON) and key not in NOT_PASSED_ON}
    return {"py_modules": [str(digests.PACKAGE)], "env_vars": passed, "excludes": ["mnist/*", "__pycache__"]}


def _total(resource: str) -> int:
    """Return how much of a resource, such as CPU, all nodes have together."""
    return sum(int(each["Resources"].get(resource, 0)) for each in ray_pool.living_nodes())


def _on_every_node(check: Callable[..., None], *arguments: Any) -> int:
    """Call a check on every node, and return the number of nodes that were alive to answer.

    Raises:
        PipelineError: what it has raised, with the name of the node.
        UsageError: a node cannot run this package.
    """
    task: Any = ray.remote(max_retries=0, num_cpus=0)(check)
    started = {}
    for each in ray_pool.living_nodes():
        there = NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)
        name = f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']}, {each['NodeID'][:8]})"
        started[name] = task.options(scheduling_strategy=there).remote(*arguments)
    answered = 0
    for name, answer in started.items():
        try:
            ray.get(answer)
            answered += 1
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            continue
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, PipelineError):
                raise type(cause)(f"Node {name}: {cause}") from None
            raise UsageError(
                f"on: expected nodes that run this package, received: {str(error).strip().splitlines()[-1]} "
                "Install the package's requirements on every node."
            ) from None
    return answered
