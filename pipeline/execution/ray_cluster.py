"""A Ray cluster: found, compared with this machine, and asked what it has, before anything is trained on it."""

import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import digests, disk
from pipeline.data.splits import DataSet
from pipeline.errors import DataError, TrackingError, UsageError, first_line
from pipeline.execution import node, ray_nodes
from pipeline.startup import SIGNALS
from pipeline.tracking import connection

RAY, ADDRESS = "ray", "RAY_ADDRESS"
SCHEME = "ray://"
ANSWER_SECONDS = 5

TRAVELS = ("MLFLOW_", "PIPELINE_")
"""The environment variables with these beginnings reach the nodes: where the server is, and how it is asked."""

STAYS = ("MLFLOW_RUN_ID", node.DATA_DIR)


@contextmanager
def connected(on: str, *, tracks: bool = True) -> Iterator[None]:
    """Be connected to a Ray cluster, whose nodes have the versions that are here.

    Args:
        on: ``ray``: the cluster at ``RAY_ADDRESS``, or the one on this machine; or an address such as
            ``ray://HOST:10001``.
        tracks: whether its nodes need the tracking server.

    Raises:
        UsageError: Ray is not installed; there is no cluster; it, or a node of it, has other versions.
        TrackingError: the tracking server is a file, which no other machine can reach.
    """
    if importlib.util.find_spec(RAY) is None:
        raise UsageError("on: expected Ray to be installed for `ray`, found none. Try pip install -e '.[ray]'.")
    if tracks:
        _check_server()
    address = on if on.startswith(SCHEME) else os.environ.get(ADDRESS, "auto")
    _check_answers(address)
    import ray

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        ray.init(address, runtime_env=_environment(), logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(
            f"on: expected a Ray cluster that takes jobs of this Ray ({ray.__version__}) and Python, received from "
            f"{address}: {first_line(error).rstrip('.')}. Start one with `ray start --head`, or set {ADDRESS}."
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray puts its own in their place
            signal.signal(number, handler)
    try:
        _check_versions()
        yield
    finally:
        ray.shutdown()


def _check_server() -> None:
    """Check that the tracking server is one that other machines may reach."""
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
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        return  # auto, and what Ray itself has a word for
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"on: expected a Ray cluster at {address} ({ADDRESS}), received: {error.strerror or error}. Start it with "
            f"`ray start --head`, or set {ADDRESS} to another."
        ) from None


def _environment() -> dict[str, Any]:
    """Return what Ray brings to each process on the nodes: the code that runs here, and where it tracks."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(TRAVELS) and name not in STAYS}
    excluded = ["mnist/*", "__pycache__"]
    return {"py_modules": [str(digests.PACKAGE)], "env_vars": variables, "excludes": excluded}


def on_every_node(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Return what a function returns on each node that lives on meanwhile, by the nodes' addresses."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    task: Any = ray.remote(function)
    started = {
        f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']}, {each['NodeID'][:8]})": task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=On(each["NodeID"], soft=False)
        ).remote(*arguments)
        for each in ray_nodes.living()
    }
    answers = {}
    for name, answer in started.items():
        try:
            answers[name] = ray.get(answer)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            continue  # it has gone since: there is nothing to ask of it
        except ray.exceptions.RayError as error:
            raise UsageError(
                f"on: expected nodes that run this package, received: {str(error).strip().splitlines()[-1]} "
                "Install the package's requirements on every node."
            ) from None
    return answers


def _check_versions() -> None:
    here = node.versions()
    for name, there in on_every_node(node.versions).items():
        if different := [package for package in here if here[package] != there[package]]:
            told = ", ".join(f"{package} {there[package]} (here {here[package]})" for package in different)
            raise UsageError(
                f"on: expected the versions of this machine on every node, for the same numbers, received {told} on "
                f"{name}. Install the same there."
            )


def check_nodes(run_id: str, data: DataSet) -> None:
    """Check that every node can write on a run, and has room for the data.

    Raises:
        DataError: one has not.
        TrackingError: one cannot.
    """
    size = disk.size(data.folder)
    for name, shortage in on_every_node(node.shortage, data.name, data.digest, size).items():
        if shortage:
            raise DataError(f"From node {name}: {shortage}")
    for name, refusal in on_every_node(node.refusal, run_id).items():
        if refusal:
            raise TrackingError(f"From node {name}: {refusal}")


def packed(place: Path) -> list[Any]:
    """Put a file, or all files in and below a folder, into the cluster's object store once; see :func:`node.unpack`."""
    import ray

    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    root = place if place.is_dir() else place.parent
    return [ray.put({path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.is_file()})]
