"""A real Ray cluster of two nodes of one core each, on this machine."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Ray reads these when it is imported. It listens on every interface and does what it is told: not without a token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# The jobs of the tests are functions of this project's tests, which its package does not hold.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
os.environ["RAY_raylet_start_wait_time_s"] = "180"  # noqa: SIM112 - its own name; on a busy machine

pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")

from ray.cluster_utils import Cluster

HERE = "127.0.0.2"  # of 127.0.0.1 Ray makes the address of another interface
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": HERE}


class Nodes:
    """The nodes of a cluster, one of which may be killed; each is of one core."""

    def __init__(self) -> None:
        self._cluster: Any = Cluster()
        self.address = ""

    def add(self, folder: Path | None = None, **variables: str) -> Any:
        """Start a node; it keeps its data in a folder of its own, if one is given."""
        own = {**variables, **({"PIPELINE_NODE_DATA_DIR": str(folder)} if folder else {})}
        head: Any = {} if self._cluster.head_node else {"include_dashboard": False}
        added = self._cluster.add_node(**NODE, **head, env_vars=own)
        self.address = self._cluster.address
        return added

    def kill(self, node: Any = None) -> None:
        """Kill a node that was added, by default the second."""
        self._cluster.remove_node(node or next(iter(self._cluster.worker_nodes)), allow_graceful=False)

    def shutdown(self) -> None:
        """End all."""
        self._cluster.shutdown()


@contextmanager
def two_nodes(*folders: Path) -> Iterator[Nodes]:
    """Start two nodes; each keeps its data in a folder of its own, if any are given."""
    nodes = Nodes()
    try:
        for folder in folders or (None, None):
            nodes.add(folder)
        yield nodes
    finally:
        nodes.shutdown()
