"""The output of a command: complete, useful lines, and no messages of libraries."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.conftest import begin, environment
from tests.unit.test_startup import beyond_the_start

HEX = "[0-9a-f]{32}"
PAGE = rf"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/{HEX}\?workflowType=machine_learning"
EPOCH = (
    r"epoch \d/2   cost \d\.\d{4}   accuracy +\d+\.\d\d%   val cost \d\.\d{4}   val accuracy +\d+\.\d\d%   \d+\.\d s"
)
RUN = [
    r"Obtained digits from scikit-learn; saved in data/raw/digits\.",
    r"Preprocessed digits into data/processed/digits-[0-9a-f]{8}: 1,293 train, 144 validation, 360 test images\.",
    EPOCH,
    EPOCH,
    r"Kept the weights of epoch \d: validation accuracy \d+\.\d\d%\.",
    r"Test accuracy \d+\.\d\d%, cost \d\.\d{4}, on 360 images of digits; "
    r"balanced accuracy \d+\.\d\d%, macro F1 \d+\.\d\d%\.",
    rf"Run ID: {HEX}\. To see the results, type `mlflow ui` and open {PAGE}",
]
SMALL = ("--dataset", "digits", "--epochs", 2, "--hidden-units", 12, "--shards", 2)

WITHOUT_PIP = """
import importlib.metadata as metadata
known = metadata.version

def version(name):
    if name == "pip":
        raise metadata.PackageNotFoundError(name)
    return known(name)

metadata.version = version
"""
"""The environments that uv creates contain no pip."""


def environment_of_a_user(folder: Path) -> dict[str, str]:
    """Return environment variables without ours, with which Python finds no pip."""
    (folder / "sitecustomize.py").write_text(WITHOUT_PIP)
    ours = re.compile("MLFLOW_|TF_|PIPELINE_|PYTEST_|PYTHON")
    inherited = {name: value for name, value in environment().items() if not ours.match(name)}
    return inherited | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(folder)}


def test_a_run_prints_its_steps_only_and_works_with_closed_standard_streams(tmp_path: Path) -> None:
    """The first run makes the store; streams are closed under cron, in a daemon, and with pythonw."""
    (tmp_path / "site").mkdir()
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment_of_a_user(tmp_path / "site")}
    with begin("run", *SMALL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        output, error = process.communicate()

    assert ([], 0) == (beyond_the_start(error), process.returncode)
    lines = output.splitlines()
    assert len(RUN) == len(lines)
    assert [] == [line for pattern, line in zip(RUN, lines, strict=True) if not re.fullmatch(pattern, line)]

    words = [sys.executable, "-m", "pipeline", "train", *map(str, SMALL), "--new"]
    closed = ["sh", "-c", '"$0" "$@" 0<&- 1>&- 2>&-', *words]
    assert 0 == subprocess.run(closed, check=False, **options).returncode
