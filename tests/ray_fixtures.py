"""A real Ray cluster of two nodes of one core each, on this machine."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Ray reads these when it is imported. It listens on every interface, so it needs a token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# The jobs are functions of the tests, which the package does not contain.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
os.environ["RAY_raylet_start_wait_time_s"] = "180"  # noqa: SIM112 - Ray's name; a busy machine is slow

pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")

from ray.cluster_utils import Cluster

HERE = "127.0.0.2"  # Ray replaces 127.0.0.1 by the address of another interface
NODE: dict[str, Any] = {"object_store_memory": 80_000_000, "node_ip_address": HERE}
HEAD: dict[str, Any] = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""Processes of Ray that no test needs."""


class Nodes:
    """The nodes of a cluster, with one core each; each stores its data in its own folder below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._cluster: Any = Cluster()
        self.folder, self._added = folder, 0

    def complete(self) -> None:
        """Start the nodes that are missing of two."""
        while not self._cluster.worker_nodes:  # the first node does not count
            head = {} if self._cluster.head_node else HEAD
            self._added += 1
            variables = {"PIPELINE_NODE_DATA_DIR": str(self.folder / str(self._added))}
            self._cluster.add_node(num_cpus=1, **NODE, **head, env_vars=variables)

    @property
    def address(self) -> str:
        """Return the address of the cluster."""
        return str(self._cluster.address)

    def kill(self) -> None:
        """Kill the second node."""
        self._cluster.remove_node(next(iter(self._cluster.worker_nodes)), allow_graceful=False)


@contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    """Start two nodes; stop all nodes at the end."""
    nodes = Nodes(folder)
    try:
        nodes.complete()
        yield nodes
    finally:
        nodes._cluster.shutdown()
