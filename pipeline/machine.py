"""CPU cores and memory available to this process, within the limits of its container.

These limits are set on control groups (Linux, cgroup v1 and v2). The machine's number of cores and its free memory do
not include them.
"""

import math
import os
from collections.abc import Iterable, Iterator
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

    return min([int(psutil.virtual_memory().available), *(left for _, left in _memories())])


def total_memory() -> int:
    """Return the memory of the machine, or the container's limit if that is lower, in bytes."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _memories())])


def _quotas() -> Iterator[float]:
    """Yield the limit of each control group, in cores."""
    for group in _groups():
        quota, _, period = _text(group / "cpu.max").partition(" ")
        quota, period = quota or _text(group / "cpu.cfs_quota_us"), period or _text(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():  # else there is no limit: "max", or -1
            yield int(quota) / int(period)


def _memories() -> Iterator[tuple[int, int]]:
    """Yield the memory limit of each control group and the rest of it, in bytes; cached files count as free."""
    for group in _groups():
        for most, used, total in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit, taken = _text(group / most), _text(group / used)
            if limit.isdecimal() and taken.isdecimal():
                held = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines())
                files = sum(int(held.get(f"{total}{name}_file", 0)) for name in ("active", "inactive"))
                yield int(limit), max(0, int(limit) - int(taken) + files)


def _groups() -> Iterable[Path]:
    """Return the folders of the control groups of this process and of their parents.

    Within a container the process sees its group as the root, although it has another name outside.
    """
    lines = [line.split(":", 2) for line in _text(OWN).splitlines()]
    return dict.fromkeys(
        GROUPS / controller / path
        for _, controllers, name in lines
        for controller in controllers.split(",")
        for path in (Path(name.lstrip("/")), *Path(name.lstrip("/")).parents, Path())
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
