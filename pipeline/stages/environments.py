"""The environments that ``mlflow run --env-manager uv`` has built for this project: it builds them anew when needed."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from pipeline.startup import MARK


def root() -> Path:
    """Return the folder in which MLflow builds environments."""
    return Path(os.environ.get("MLFLOW_ENV_ROOT") or Path.home() / ".mlflow" / "envs")


def find() -> list[Path]:
    """Return the environments in which this pipeline has run, and has left its mark."""
    return sorted(mark.parent for mark in root().glob(f"*mlflow-*/{MARK}") if not mark.parent.is_symlink())


def in_use(environment: Path) -> bool:
    """Return whether a process works in an environment, as far as the system tells of other people's processes."""
    inside = f"{environment}{os.sep}"
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if any(argument.startswith(inside) for argument in process.cmdline()):
                return True
            if Path(process.environ().get("VIRTUAL_ENV") or os.devnull) == environment:
                return True
    return False


def remove(environment: Path) -> None:
    """Remove an environment; MLflow never meets the half of one, whenever that is cut off."""
    outgoing = environment.with_name(f".outgoing-{environment.name.removeprefix('.outgoing-')}")
    environment.rename(outgoing)
    for part in outgoing.iterdir():  # the mark last, so that what is left is found again
        if part.name != MARK:
            shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
    shutil.rmtree(outgoing)
