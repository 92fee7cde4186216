"""A benchmark that is rarely started still works with the present code."""

import os
import re
import subprocess
import sys
from pathlib import Path

SCALE = Path(__file__).parents[2] / "benchmarks" / "scale.py"


def test_the_benchmark_of_many_runs_makes_them_and_reports_on_them(tmp_path: Path) -> None:
    command = [sys.executable, str(SCALE), "--nodes", "", "--runs", "2"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert re.match(r"report on 2 runs: \d+\.\d s, including", done.stdout), done.stderr
