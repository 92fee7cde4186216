"""The built package, installed into an empty environment and used outside the checkout."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, environment


def run(*words: object, cwd: Path) -> str:
    """Run a command and return its output; if it fails, fail with the output."""
    given = {name: value for name, value in environment().items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=given | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_environment_outside_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(PROJECT / "pipeline", source / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    run("uv", "build", "--wheel", "--out-dir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert "recurrent_mlflow_pipeline-1." in wheel.name
    run("uv", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run("uv", "pip", "install", "--python", python, "-c", PROJECT / "constraints.txt", wheel, cwd=tmp_path)

    options = ("--dataset", "digits", "--epochs", 1, "--hidden-units", 8)
    output = run(python.with_name("pipeline"), "run", *options, cwd=tmp_path)

    assert "Test accuracy" in output
    assert (tmp_path / "mlflow.db").exists()
