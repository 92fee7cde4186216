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


@contextmanager
def two_nodes(*folders: Path) -> Iterator[Any]:
    """Start two nodes; each keeps its data in a folder of its own, if any are given."""
    own: list[Any] = [{"env_vars": {"PIPELINE_NODE_DATA_DIR": str(folder)}} for folder in folders] or [{}, {}]
    cluster: Any = Cluster(initialize_head=True, head_node_args={**NODE, **own[0], "include_dashboard": False})
    cluster.add_node(**NODE, **own[1])
    try:
        yield cluster
    finally:
        cluster.shutdown()
