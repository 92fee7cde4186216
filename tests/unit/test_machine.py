"""Cores and memory of a process, in a container and outside."""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from pipeline import machine

GB = 10**9


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the control groups of a machine with 16 cores and 64 GB."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * GB}))
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("quota", "cores"), [("", 16), ("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1)]
)
def test_a_container_has_its_quota_of_cores(groups: Path, quota: str, cores: int) -> None:
    """`docker run --cpus` writes this; inside the container, the group is the root."""
    (groups / "own").write_text("0::/\n")
    write(groups, cpu_max=quota)
    assert cores == machine.usable_cores()


def test_a_container_has_its_remaining_memory(groups: Path) -> None:
    (groups / "own").write_text("0::/\n")
    write(groups, memory_max=str(4 * GB), memory_current=str(3 * GB))
    write(groups, memory_stat=f"anon {2 * GB}\ninactive_file {GB // 2}\nactive_file {GB // 4}")
    assert 4 * GB - 3 * GB + GB // 2 + GB // 4 == machine.free_memory()


def test_a_group_has_the_limits_of_those_above_it(groups: Path) -> None:
    (groups / "own").write_text("0::/pods/own\n")
    write(groups / "pods", cpu_max="300000 100000", memory_max=str(8 * GB), memory_current="0")
    write(groups / "pods" / "own", cpu_max="max 100000", memory_max="max", memory_current="0")
    assert (3, 8 * GB) == (machine.usable_cores(), machine.free_memory())
