"""The machines of the Ray cluster that this process is connected to: which live, what they have, their names."""

import time
from typing import Any

SETTLED = 6.0
"""Seconds in which it is known of a worker that has died whether its node has, too."""


def living() -> list[dict[str, Any]]:
    """Return the nodes that live, as Ray describes them."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [each for each in nodes if each["Alive"]]


def name_among_others(node_id: str) -> str:
    """Return what a person calls a node: its host, and the beginning of its id where others are on that, too.

    Nothing where it is the only one, or has gone.
    """
    hosts = {each["NodeID"]: str(each["NodeManagerHostname"]) for each in living()}
    host = hosts.get(node_id)
    if host is None or len(hosts) == 1:
        return ""
    return host if list(hosts.values()).count(host) == 1 else f"{host} ({node_id[:8]})"


def most(resource: str) -> int:
    """Return how much of a resource, such as CPU, a single node has at most."""
    return max((int(each["Resources"].get(resource, 0)) for each in living()), default=0)


def in_all(resource: str) -> int:
    """Return how much of a resource all nodes have together."""
    return sum(int(each["Resources"].get(resource, 0)) for each in living())


def lives(node: str) -> bool:
    """Return whether the node of an id lives."""
    return any(node == each["NodeID"] for each in living())


def has_died(node: str) -> bool:
    """Return whether a node has died, which may be known somewhat later than that a process on it has."""
    deadline = time.monotonic() + SETTLED
    while lives(node):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
