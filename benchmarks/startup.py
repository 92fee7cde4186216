"""Measure the time of each command without its epochs, relative to an import of TensorFlow and MLflow.

    python benchmarks/startup.py

Each command is a new process on digits, with an existing store. Each round also measures the import alone, and an
import of Typer, with which ``--help`` is compared. The script prints wall time, and the CPU time of all processes of a
command, which depends less on other programs. The epochs are subtracted: from wall time the epochs of the longest run,
from CPU time the epochs of all runs. "one more run" is the slope between comparisons of 8 and of 24 runs of one epoch,
with two workers; it includes the epoch.
"""

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from operator import truediv
from pathlib import Path
from typing import NamedTuple

import mlflow

IMPORT, TYPER = "import tensorflow, mlflow", "import typer"
SMALL = ("--dataset", "digits", "--hidden-units", "16")
MODEL = "models:/started@champion"
PORT = 5099


class Seconds(NamedTuple):
    """Wall time and CPU time of a command, in seconds."""

    passed: float
    processor: float


def main() -> None:
    """Measure all commands, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=3, type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        _pipeline("run", *SMALL, "--epochs", "3", "--register", "started")
        _write_picture(Path("it.png"))
        taken: dict[str, list[Seconds]] = {}
        for number in range(options.rounds):
            for name, measure in _measures(number).items():
                taken.setdefault(name, []).append(measure())
        _print(taken)


def _measures(number: int) -> dict[str, Callable[[], Seconds]]:
    """Return the measurements of a round; the number of the round is the seed, so no run is reused."""
    seed = str(100 + number)
    return {
        TYPER: lambda: _seconds([sys.executable, "-c", TYPER]),
        "--help": lambda: _pipeline("--help"),
        IMPORT: lambda: _seconds([sys.executable, "-c", IMPORT]),
        "run": lambda: _around_epochs("run", *SMALL, "--epochs", "5", "--seed", seed),
        "compare": lambda: _around_epochs("compare", *SMALL, "--epochs", "5", "--cells", "rnn,gru", "--seeds", seed),
        "predict": lambda: _pipeline("predict", "it.png", "--model", MODEL),
        "serve": _seconds_to_serve,
        "one more run": lambda: _one_more(1_000 * (number + 1)),
    }


def _one_more(seed: int) -> Seconds:
    """Return the time that a run adds to a comparison of runs that differ by the seed."""
    few, many = (
        _pipeline("compare", *SMALL, "--epochs", "1", "--cells", "gru", "--seeds", seeds, "--workers", "2")
        for seeds in (f"{seed}-{seed + 7}", f"{seed + 100}-{seed + 123}")
    )
    return Seconds((many.passed - few.passed) / 16, (many.processor - few.processor) / 16)


def _around_epochs(*arguments: str) -> Seconds:
    """Return the time of a command without its epochs."""
    started = round(1_000 * time.time())
    taken = _pipeline(*arguments)
    trainings = mlflow.search_runs(
        filter_string=f"attributes.start_time >= {started} and tags.kind = 'training'", output_format="list"
    )
    return Seconds(
        taken.passed - max(run.data.metrics["train_seconds"] for run in trainings),
        taken.processor - sum(run.data.metrics["cpu_seconds"] for run in trainings),
    )


def _pipeline(*arguments: str) -> Seconds:
    return _seconds([sys.executable, "-m", "pipeline", *arguments])


def _seconds(command: Sequence[str]) -> Seconds:
    started, used = time.perf_counter(), _processor_seconds()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Seconds(time.perf_counter() - started, _processor_seconds() - used)


def _processor_seconds() -> float:
    """Return the CPU time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds_to_serve() -> Seconds:
    """Return the wall time until the first answer, and the CPU time until the end soon after it."""
    command = [sys.executable, "-m", "pipeline", "serve", "--model", MODEL, "--port", str(PORT)]
    started, used = time.perf_counter(), _processor_seconds()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while not _answers():
                time.sleep(0.02)
            passed = time.perf_counter() - started
        finally:
            server.send_signal(signal.SIGINT)
    return Seconds(passed, _processor_seconds() - used)


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ping", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, ConnectionError):
        return False


def _write_picture(path: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8)).save(path)


def _print(taken: dict[str, list[Seconds]]) -> None:
    print(f"{'':28} seconds       ÷    CPU time       ÷   (÷ the import; medians of {len(taken[IMPORT])} rounds)")
    for name, measured in taken.items():
        base = TYPER if name in (TYPER, "--help") else IMPORT
        columns = [
            text
            for own, bare in zip(zip(*measured, strict=True), zip(*taken[base], strict=True), strict=True)
            for text in (f"{statistics.median(own):9.2f}", f"{statistics.median(map(truediv, own, bare)):7.2f}")
        ]
        print(f"{name:26}", " ".join(columns))


if __name__ == "__main__":
    main()
