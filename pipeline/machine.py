"""CPU cores and memory available to this process, within the limits of its container.

These limits are set on control groups (Linux, cgroup v2). The machine's number of cores and its free memory do not
include them.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the number of cores that this process may use, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(max(1, math.ceil(quota)) for quota in _quotas())])


def free_memory() -> int:
    """Return the free memory for this process, in bytes."""
    import psutil  # type: ignore[import-untyped]

    return min([int(psutil.virtual_memory().available), *_free_memories()])


def _quotas() -> Iterator[float]:
    """Yield the limit of each control group, in cores."""
    for group in _groups():
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdecimal():  # else there is no limit: "max"
            yield int(quota) / int(period)


def _free_memories() -> Iterator[int]:
    """Yield what is left of the memory limit of each control group, in bytes; cached files count as free."""
    for group in _groups():
        limit, taken = _text(group / "memory.max"), _text(group / "memory.current")
        if limit.isdecimal():
            held = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines())
            files = sum(int(held.get(f"{name}_file", 0)) for name in ("active", "inactive"))
            yield max(0, int(limit) - int(taken) + files)


def _groups() -> list[Path]:
    """Return the folders of the control group of this process and of its parents.

    Within a container the process sees its group as the root.
    """
    own = Path(_text(OWN).removeprefix("0::/"))
    return [GROUPS / path for path in (own, *own.parents)]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
