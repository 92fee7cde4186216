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
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": HERE}


class Nodes:
    """The nodes of a cluster, with one core each."""

    def __init__(self) -> None:
        self._cluster: Any = Cluster()
        self.address = ""

    def add(self, folder: Path | None = None, **variables: str) -> Any:
        """Start a node, which stores its data in ``folder`` if it is given."""
        own = {**variables, **({"PIPELINE_NODE_DATA_DIR": str(folder)} if folder else {})}
        head: Any = {} if self._cluster.head_node else {"include_dashboard": False}
        added = self._cluster.add_node(**NODE, **head, env_vars=own)
        self.address = self._cluster.address
        return added

    def kill(self, node: Any = None) -> None:
        """Kill a node; by default the second one."""
        self._cluster.remove_node(node or next(iter(self._cluster.worker_nodes)), allow_graceful=False)

    def shutdown(self) -> None:
        """Stop all nodes."""
        self._cluster.shutdown()


@contextmanager
def two_nodes(*folders: Path) -> Iterator[Nodes]:
    """Start two nodes, which store their data in ``folders`` if they are given."""
    nodes = Nodes()
    try:
        for folder in folders or (None, None):
            nodes.add(folder)
        yield nodes
    finally:
        nodes.shutdown()
