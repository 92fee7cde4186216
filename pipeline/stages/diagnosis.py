"""What a person is asked first when something does not work: what is installed and used, what lies where, who answers.

Each finding is a section, a name and a text, or a number of bytes or seconds as
a text; a problem is a sentence that says what to do.
"""

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline import __version__, disk
from pipeline.errors import TrackingError
from pipeline.machine import free_memory, total_memory, usable_cores
from pipeline.stages import environments
from pipeline.startup import gpus, start_tensorflow
from pipeline.tracking import connection, lineage
from pipeline.training.checkpoints import LocalCheckpoints
from pipeline.training.locks import RunLocks

PACKAGES = (*lineage.RECORDED_PACKAGES, "matplotlib", "pyarrow", "pydantic", "typer", "uv")

VARIABLES = ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
"""Of the environment: those that say where runs go, and how patiently."""

FEATURES = re.compile(r"avx2|fma|avx512(f|_vnni|_bf16)|avx_vnni|amx_(tile|bf16|int8)|asimd|sve|bf16")
"""Of a processor: those that decide how fast TensorFlow's matrix products are, as Linux names them."""


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        sections: texts by name, by section.
        problems: what to mend, a sentence each.
    """

    sections: dict[str, Mapping[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def diagnose(data_dir: Path) -> Diagnosis:
    """Return what is installed and used, what lies where, and whether the tracking server answers."""
    found = Diagnosis()
    found.sections["Installed"] = dict(_installed())
    found.sections["Machine"] = dict(_machine())
    found.sections["Data"] = dict(_data(data_dir))
    found.sections["Tracking"] = dict(_tracking(found.problems))
    if shutil.disk_usage(_existing(data_dir)).free < 1e9:  # noqa: PLR2004 - a comparison with its models takes less
        found.problems.append(
            f"{data_dir}: expected 1 GB of free disk, received less. Make room, or see `pipeline clean`."
        )
    return found


def _installed() -> Iterator[tuple[str, str]]:
    yield "pipeline", f"{__version__}, in {Path(__file__).parents[1]}"
    yield "Python", f"{platform.python_version()}, in {sys.prefix}"
    yield "system", platform.platform()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _machine() -> Iterator[tuple[str, str]]:
    yield "processor", f"{lineage.processor()}, of which {usable_cores()} may be used"
    yield "its features", ", ".join(_features()) or "not known"
    start_tensorflow(usable_cores())
    yield "GPU", ", ".join(gpus()) or "none that TensorFlow can use"
    yield "memory", f"{disk.shown(free_memory())} free of {disk.shown(total_memory())}"


def _features() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return sorted(flag for flag in flags if FEATURES.fullmatch(flag))


def _data(data_dir: Path) -> Iterator[tuple[str, str]]:
    checkpoints = LocalCheckpoints(data_dir)
    names = checkpoints.names()
    yield "folder", f"{data_dir.resolve()}, {disk.shown(shutil.disk_usage(_existing(data_dir)).free)} free there"
    for part in ("raw", "processed"):
        yield part, disk.shown(disk.size(data_dir / part))
    size, held = sum(map(checkpoints.size, names)), sum(map(RunLocks(data_dir).is_held, names))
    yield "checkpoints", f"{len(names)}, {disk.shown(size)}; {held} of them in use"


def _existing(path: Path) -> Path:
    return next(parent for parent in (path.resolve(), *path.resolve().parents) if parent.exists())


def _tracking(problems: list[str]) -> Iterator[tuple[str, str]]:
    yield "store", connection.address()
    if file := connection.file():
        yield "its size", disk.shown(disk.size(file)) if connection.is_there() else "not there yet"
    built = environments.find()
    yield (
        "environments",
        f"{len(built)}, {disk.shown(sum(map(disk.size, built)))}, in {environments.root()}",
    )
    if connection.is_there():
        began = time.perf_counter()
        try:
            connection.connect()
            yield "answers", f"yes, in {time.perf_counter() - began:.2f} s"
        except TrackingError as error:
            problems.append(str(error))
            yield "answers", "no"
    for name in VARIABLES:
        if name in os.environ:
            yield name, os.environ[name]
