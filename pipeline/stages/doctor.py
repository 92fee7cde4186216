"""Show versions, machine, disk use, and whether the tracking server answers.

pipeline doctor
pipeline doctor --json
"""

import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline import __version__, disk
from pipeline.errors import PipelineError, TrackingError
from pipeline.machine import free_memory, total_memory, usable_cores
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.startup import gpus, start_tensorflow
from pipeline.tracking import connection, lifecycle
from pipeline.training.checkpoints import LocalCheckpoints
from pipeline.training.locks import RunLocks

PACKAGES = (*lifecycle.RECORDED_PACKAGES, "pandas", "pyarrow", "typer", "uv")

Lines = Iterator[tuple[str, str]]


def doctor(reporter: Reporter, *, data_dir: Path, as_json: bool) -> dict[str, object]:
    """Return sections of names and texts, and the problems found, and show them.

    Args:
        reporter: shows a line per name, or JSON.
        data_dir: folder of data.
        as_json: show a JSON object.

    Raises:
        PipelineError: there is a problem; everything has been shown.
    """
    data_dir = expanded(data_dir)
    problems: list[str] = []
    sections = {
        "Installed": dict(_installed()),
        "Machine": dict(_machine()),
        "Data": dict(_data(data_dir, problems)),
        "Tracking": dict(_tracking(problems)),
    }
    if as_json:
        reporter.result(json.dumps({"sections": sections, "problems": problems}, indent=2))
    else:
        for section, lines in sections.items():
            reporter.result("\n".join([section, *(f"  {name:20} {text}" for name, text in lines.items())]))
    if problems:
        raise PipelineError(" ".join(problems))
    return {"sections": sections, "problems": problems}


def _installed() -> Lines:
    yield "pipeline", f"{__version__}, in {Path(__file__).parents[1]}"
    yield "Python", f"{platform.python_version()}, in {sys.prefix}"
    yield "system", platform.platform()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _machine() -> Lines:
    yield "processor", f"{lifecycle.processor()}, {usable_cores()} cores usable"
    start_tensorflow(usable_cores())
    yield "GPU", ", ".join(gpus()) or "none that TensorFlow can use"
    yield "memory", f"{disk.shown(free_memory())} free of {disk.shown(total_memory())}"


def _data(data_dir: Path, problems: list[str]) -> Lines:
    existing = next(parent for parent in (data_dir.resolve(), *data_dir.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < 1e9:  # noqa: PLR2004 - a comparison with its models takes less
        problems.append(f"{data_dir}: expected 1 GB of free disk, received {disk.shown(free)}. See `pipeline clean`.")
    names = LocalCheckpoints(data_dir).names()
    yield "folder", f"{data_dir.resolve()}, {disk.shown(free)} free there"
    for part in ("raw", "processed", "checkpoints"):
        yield part, disk.shown(disk.size(data_dir / part))
    yield "unfinished runs", f"{len(names)}, {sum(map(RunLocks(data_dir).is_held, names))} of them training now"


def _tracking(problems: list[str]) -> Lines:
    yield "store", connection.address()
    if not connection.is_there():
        yield "size", "not there yet"
        return
    if file := connection.file():
        yield "size", disk.shown(disk.size(file))
    began = time.perf_counter()
    try:
        connection.connect()
        yield "answers", f"yes, in {time.perf_counter() - began:.2f} s"
    except TrackingError as error:
        problems.append(str(error))
        yield "answers", "no"
