"""Show versions, machine, disk use, and whether the tracking server answers.

pipeline doctor
pipeline doctor --json
"""

import json
import platform
import shutil
import sys
import time
from importlib.metadata import distributions
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

Section = dict[str, str]


def doctor(reporter: Reporter, *, data_dir: Path, as_json: bool) -> dict[str, object]:
    """Show and return sections of names and texts, and the problems found.

    Args:
        reporter: shows a line per name, or JSON.
        data_dir: folder of data.
        as_json: show a JSON object.

    Raises:
        PipelineError: there is a problem; it is raised after everything was shown.
    """
    problems: list[str] = []
    sections = {
        "Installed": _installed(),
        "Machine": _machine(),
        "Data": _data(expanded(data_dir), problems),
        "Tracking": _tracking(problems),
    }
    if as_json:
        reporter.result(json.dumps({"sections": sections, "problems": problems}, indent=2))
    else:
        for section, lines in sections.items():
            reporter.result("\n".join([section, *(f"  {name:20} {text}" for name, text in lines.items())]))
    if problems:
        raise PipelineError(" ".join(problems))
    return {"sections": sections, "problems": problems}


def _installed() -> Section:
    installed = {each.name.lower(): each.version for each in distributions()}
    return {
        "pipeline": f"{__version__}, in {Path(__file__).parents[1]}",
        "Python": f"{platform.python_version()}, in {sys.prefix}",
        "system": platform.platform(),
        **{package: installed.get(package, "not installed") for package in PACKAGES},
    }


def _machine() -> Section:
    start_tensorflow(usable_cores())
    return {
        "processor": f"{lifecycle.processor()}, {usable_cores()} cores usable",
        "GPU": ", ".join(gpus()) or "none that TensorFlow can use",
        "memory": f"{disk.shown(free_memory())} free of {disk.shown(total_memory())}",
    }


def _data(data_dir: Path, problems: list[str]) -> Section:
    existing = next(parent for parent in (data_dir.resolve(), *data_dir.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < 1e9:  # noqa: PLR2004 - a comparison with its models takes less
        problems.append(f"{data_dir}: expected 1 GB of free disk, received {disk.shown(free)}. See `pipeline clean`.")
    names = LocalCheckpoints(data_dir).names()
    training = sum(map(RunLocks(data_dir).is_held, names))
    return {
        "folder": f"{data_dir.resolve()}, {disk.shown(free)} free there",
        **{part: disk.shown(disk.size(data_dir / part)) for part in ("raw", "processed", "checkpoints")},
        "unfinished runs": f"{len(names)}, {training} of them training now",
    }


def _tracking(problems: list[str]) -> Section:
    store = {"store": connection.address()}
    if not connection.is_there():
        return store | {"size": "not there yet"}
    if file := connection.file():
        store["size"] = disk.shown(disk.size(file))
    began = time.perf_counter()
    try:
        connection.connect()
    except TrackingError as error:
        problems.append(str(error))
        return store | {"answers": "no"}
    return store | {"answers": f"yes, in {time.perf_counter() - began:.2f} s"}
