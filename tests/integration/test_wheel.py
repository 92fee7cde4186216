"""The built package, installed into a new environment and used outside the checkout; the output of its first run."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT
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
"""The lines of the output; the run also makes the store."""


def run(*words: object, cwd: Path) -> tuple[str, str]:
    """Run a command without variables of ours; return its output and its errors. If it fails, fail with both."""
    ours = re.compile("MLFLOW_|TF_|PIPELINE_|PYTEST_|PYTHON")
    given = {name: value for name, value in os.environ.items() if not ours.match(name)}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=given | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, (done.stdout, done.stderr)
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_wheel_trains_outside_the_checkout_and_prints_its_steps_only(tmp_path: Path) -> None:
    source, env = tmp_path / "source", tmp_path / "env"
    shutil.copytree(PROJECT / "pipeline", source / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    run("uv", "build", "--wheel", "--out-dir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert "recurrent_mlflow_pipeline-1." in wheel.name
    run("uv", "venv", env, cwd=tmp_path)
    install = ("uv", "pip", "install", "--python", env, "-c", PROJECT / "constraints.txt", wheel)
    assert "Would install" in run(*install, "--dry-run", cwd=tmp_path)[1]  # the pins fit together
    run(*install, "--no-deps", cwd=tmp_path)
    (packages,) = env.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # they are compiled there

    options = ("--dataset", "digits", "--epochs", 2, "--hidden-units", 12, "--shards", 2)
    output, errors = run(env / "bin" / "pipeline", "run", *options, cwd=tmp_path)

    assert [] == beyond_the_start(errors)
    lines = output.splitlines()
    assert len(RUN) == len(lines)
    assert [] == [line for pattern, line in zip(RUN, lines, strict=True) if not re.fullmatch(pattern, line)]
    assert (tmp_path / "mlflow.db").exists()
