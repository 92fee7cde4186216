"""List runs (`runs`), remove files that are no longer needed (`clean`), check the installation (`doctor`).

pipeline runs --limit 100
pipeline clean --dry-run
pipeline doctor --json

`clean` removes nothing that another process uses, and no checkpoint of an unknown run: it may belong to another store.
"""

import json
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from pipeline import __version__, disk
from pipeline.data import stored
from pipeline.errors import PipelineError, TrackingError
from pipeline.machine import free_memory, usable_cores
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, expanded
from pipeline.startup import gpus, start_tensorflow
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import resuming

KILLED = "Its process was killed; `pipeline clean` ended the run."
PACKAGES = (*lifecycle.RECORDED_PACKAGES, "pyarrow", "typer", "uv")


def _found(filter_string: str, reporter: Reporter, **search: Any) -> list[TrackedRun]:
    """Return the runs that a filter matches; none if there is no store yet."""
    if not connection.is_there():
        return []
    connection.connect(reporter.note)
    return store.find_runs(filter_string, **search)


# --- runs -----------------------------------------------------------------------------------------------------------


def runs(reporter: Reporter, *, data_dir: Path, limit: int, as_json: bool) -> list[dict[str, Any]]:
    """Return the latest runs of the active experiment, the newest first, and show them.

    Args:
        reporter: shows a table, or JSON.
        data_dir: folder of the checkpoints; their locks show which runs were interrupted.
        limit: maximum number of runs.
        as_json: show a JSON array.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    # A search also has a cell, and at least one trial, so twice the limit is enough.
    found = _found(f"params.cell != '' and tags.{schema.FINGERPRINT} != ''", reporter, limit=2 * limit)
    trainings = [run for run in found if run.is_training][:limit]
    names = dict.fromkeys(name for run in trainings for name in run.params if name not in DATA_PARAMETERS)
    differing = [name for name in names if len({run.params.get(name) for run in trainings}) > 1]
    rows = [_row(run, differing, expanded(data_dir)) for run in trainings]
    if as_json:
        reporter.result(json.dumps(rows, indent=2))
    elif rows:
        numbers = ("val accuracy %", "test accuracy %", "train s")
        reporter.table(("run", "name", "data", *differing, *numbers, "state", "started"), [*map(_cells, rows)])
    else:
        reporter.note("No runs yet. Start with: pipeline run")
    return rows


def _row(run: TrackedRun, differing: Sequence[str], data_dir: Path) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "cell": run.params["cell"],
        "data": run.tags.get(schema.DATASET, run.params.get("dataset", "")),
        "parameters": {name: run.params.get(name, "") for name in differing},
        "val_accuracy": run.metrics.get(schema.BEST_VAL_ACCURACY),
        "test_accuracy": run.metrics.get(schema.TEST_ACCURACY),
        "seconds": run.metrics.get(schema.TRAIN_SECONDS),
        "state": _state(run, data_dir),
        "started": datetime.fromtimestamp(run.started / 1_000, UTC).isoformat(timespec="seconds"),
    }


def _state(run: TrackedRun, data_dir: Path) -> str:
    """Return the state of a run; it is interrupted if it was started here and no process works on it any more."""
    if run.status == "FINISHED":
        return "pruned" if run.is_pruned else "finished" if run.is_evaluated else "trained"
    is_here = run.status == "RUNNING" and run.checkpoint in resuming.checkpoint_names(data_dir)
    return "interrupted" if is_here and not resuming.is_held(data_dir, run.checkpoint) else run.status.lower()


def _cells(row: dict[str, Any]) -> list[str]:
    numbers = ((row["val_accuracy"], 100, 2), (row["test_accuracy"], 100, 2), (row["seconds"], 1, 1))
    texts = ["" if value is None else f"{scale * value:.{digits}f}" for value, scale, digits in numbers]
    return [row["run_id"], row["name"], row["data"], *row["parameters"].values(), *texts, row["state"], row["started"]]


# --- clean ----------------------------------------------------------------------------------------------------------


def clean(reporter: Reporter, *, data_dir: Path, dry_run: bool) -> list[str]:
    """Remove what is no longer needed; return its names.

    Args:
        reporter: shows what is removed, and the reason.
        data_dir: folder of data and of checkpoints.
        dry_run: only show what would be removed.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    data_dir, sizes = expanded(data_dir), dict[str, int]()

    def remove(what: str, reason: str, action: Callable[[], object], *, size: int = 0, lock: str = "") -> None:
        with suppress(resuming.LockedError), resuming.hold(data_dir, lock) if lock else nullcontext():
            if not dry_run:
                action()
            sizes[what] = size
            done = "Would clean" if dry_run else "Cleaned"
            reporter.note(f"{done} {what}: {reason}" + (f", {decimal(size)}." if size else "."))

    _clean(data_dir, reporter, remove)
    freed = decimal(sum(sizes.values()))
    result = f"That would free {freed}. Leave out --dry-run to do it." if dry_run else f"Freed {freed}."
    reporter.result(result if sizes else "There is nothing to clean.")
    return list(sizes)


def _clean(data_dir: Path, reporter: Reporter, remove: Callable[..., None]) -> None:
    """Call ``remove`` for each run to end, each checkpoint, and each folder of processed data."""
    known = _found(f"tags.{schema.CHECKPOINT} != ''", reporter, everywhere=True)
    names = resuming.checkpoint_names(data_dir)
    free = {name for name in names if not resuming.is_held(data_dir, name)}
    for run in known:
        if run.status == "RUNNING" and run.checkpoint in free and not run.is_deleted:
            end = partial(lifecycle.end, run.run_id, "KILLED", KILLED)
            reason = "its status is RUNNING, but no process works on it; it can still be resumed"
            remove(f"run {run.run_id} ({run.name}), to KILLED", reason, end, lock=run.checkpoint)
    _clean_checkpoints(known, data_dir, free, remove)
    if unknown := len(free - {run.checkpoint for run in known}):
        reporter.note(f"Checkpoints kept, because their runs are not in this store but may be in another: {unknown}.")
    if len(free) < len(names):
        reporter.note("Kept the processed data: a run is in progress.")
        return
    for folder in stored.superseded(data_dir):
        reason = "another version of the code made it, and it can be made again"
        remove(str(folder), reason, partial(disk.remove_folder, folder), size=disk.size(folder))


def _clean_checkpoints(
    known: Sequence[TrackedRun], data_dir: Path, free: set[str], remove: Callable[..., None]
) -> None:
    """Remove the checkpoints that no run needs; on this machine only if no process uses them (``free``)."""
    finished = {
        _identity(run)
        for run in known
        if run.status == "FINISHED" and not run.is_deleted and (run.is_evaluated or not run.is_training)
    }
    for run in known:
        reasons = {
            "its run was deleted": run.is_deleted,
            "its run has finished": run.status == "FINISHED",
            "another run with the same fingerprint has finished": _identity(run) in finished,
        }
        reason = next((text for text, holds in reasons.items() if holds), None)
        what = f"checkpoint {run.checkpoint} of {run.name}"
        if reason and run.checkpoint in free:
            local = resuming.LocalCheckpoint(resuming.folder_of(data_dir, run.checkpoint))
            remove(what, reason, local.remove, size=disk.size(local.folder), lock=run.checkpoint)
        elif reason and run.has_remote_checkpoint and (files := store.files_in(run.run_id, resuming.FOLDER)):
            remove(what, reason, resuming.checkpoint_of(run, data_dir).remove, size=sum(files.values()))


def _identity(run: TrackedRun) -> tuple[str, str | None]:
    return run.experiment_id, run.tags.get(schema.FINGERPRINT)


# --- doctor ---------------------------------------------------------------------------------------------------------


def doctor(reporter: Reporter, *, data_dir: Path, as_json: bool) -> None:
    """Show versions, machine, disk use, and whether the tracking server answers.

    Args:
        reporter: shows a line per name, or JSON.
        data_dir: folder of data.
        as_json: show a JSON object.

    Raises:
        PipelineError: there is a problem; it is raised after everything was shown.
    """
    tracking, problem = _tracking()
    sections = {**_here(), "Data": _data(expanded(data_dir).resolve()), "Tracking": tracking}
    if as_json:
        reporter.result(json.dumps({"sections": sections, "problems": [problem] if problem else []}, indent=2))
    else:
        for section, lines in sections.items():
            reporter.result("\n".join([section, *(f"  {name:20} {text}" for name, text in lines.items())]))
    if problem:
        raise PipelineError(problem)


def _here() -> dict[str, dict[str, str]]:
    """Return what is installed, and the machine."""
    start_tensorflow(usable_cores())
    versions = {each.name.lower(): each.version for each in distributions()}
    return {
        "Installed": {
            "pipeline": f"{__version__}, in {Path(__file__).parents[1]}",
            "Python": f"{platform.python_version()}, in {sys.prefix}",
            "system": platform.platform(),
            **{package: versions.get(package, "not installed") for package in PACKAGES},
        },
        "Machine": {
            "processor": f"{lifecycle.processor()}, {usable_cores()} cores usable",
            "GPU": ", ".join(gpus()) or "none that TensorFlow can use",
            "memory": f"{decimal(free_memory())} free",
        },
    }


def _data(folder: Path) -> dict[str, str]:
    """Return where the data is, and its size."""
    free = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
    sizes = {part: decimal(disk.size(folder / part)) for part in ("raw", "processed", "checkpoints")}
    return {"folder": f"{folder}, {decimal(free)} free there", **sizes}


def _tracking() -> tuple[dict[str, str], str]:
    """Return where runs are stored, and the problem with it, which is empty if there is none."""
    file, answers, problem = connection.file(), "not there yet", ""
    try:
        if connection.is_there():
            connection.connect()
            answers = "yes"
    except TrackingError as error:
        answers, problem = "no", str(error)
    size = {"size": decimal(disk.size(file))} if file else {}
    return {"store": connection.address(), **size, "answers": answers}, problem
