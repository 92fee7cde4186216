"""Compare two ways to run a comparison: one run at a time on all cores, and one run per core.

    python benchmarks/side_by_side.py

Each comparison runs in a new process with its own store. The two ways take turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from pipeline.machine import usable_cores
from pipeline.settings import DataSettings


def seconds(workers: int, options: argparse.Namespace) -> float:
    """Return the wall time of a comparison with this number of parallel runs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline", "compare", "--workers", str(workers), "--source", options.source]
        command += ["--cells", options.cell, "--seeds", options.seeds, "--epochs", str(options.epochs)]
        started = time.perf_counter()
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    """Measure both ways, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="mirrors", type=lambda text: DataSettings(source=text).key)
    parser.add_argument("--cell", default="gru")
    parser.add_argument("--seeds", default="1,2,3,4")
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--rounds", default=2, type=int)
    options = parser.parse_args()
    cores = usable_cores()
    taken: dict[int, list[float]] = {1: [], cores: []}
    for number in range(1, options.rounds + 1):
        for workers, times in taken.items():
            times.append(seconds(workers, options))
            print(f"round {number}/{options.rounds}: {workers} at a time: {times[-1]:.1f} s", flush=True)
    ratio = statistics.median(one / many for one, many in zip(*taken.values(), strict=True))
    print(f"Time of one at a time ÷ time of {cores} at a time: {ratio:.2f}")


if __name__ == "__main__":
    main()
