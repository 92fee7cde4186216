"""What a person sees of a command: all that tells something, in whole lines, and no word of a library's inner life."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import environment
from tests.unit.test_startup import TENSORFLOW_STARTS

HEX = "[0-9a-f]{32}"
PAGE = rf"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/{HEX}\?workflowType=machine_learning"
EPOCH = (
    r"epoch \d/2   cost \d\.\d{4}   accuracy +\d+\.\d\d%   val cost \d\.\d{4}   val accuracy +\d+\.\d\d%   \d+\.\d s"
)
RUN = [
    r"Obtained digits from scikit-learn, kept in data/raw/digits\.",
    r"Preprocessed digits into data/processed/digits-[0-9a-f]{8}: 1,293 train, 144 validation, 360 test images\.",
    EPOCH,
    EPOCH,
    r"Kept the weights of epoch \d: validation accuracy \d+\.\d\d%\.",
    r"Test accuracy \d+\.\d\d%, cost \d\.\d{4}, on 360 images of digits; "
    r"balanced accuracy \d+\.\d\d%, macro F1 \d+\.\d\d%\.",
    rf"Run {HEX} holds all of it\. Look at it with: mlflow ui, then open {PAGE}",
]
SMALL = ("--dataset", "digits", "--epochs", "2", "--hidden-units", "12", "--shards", "2")

WITHOUT_PIP = """
import importlib.metadata as metadata
known = metadata.version

def version(name):
    if name == "pip":
        raise metadata.PackageNotFoundError(name)
    return known(name)

metadata.version = version
"""
"""The environments that uv makes hold no pip."""


def pipeline(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as a user whose environment names nothing; what it prints is no terminal."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(WITHOUT_PIP)
    ours = re.compile("MLFLOW_|TF_|PIPELINE_|PYTEST_|PYTHON")
    inherited = {name: value for name, value in environment().items() if not ours.match(name)}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env=inherited | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(folder / "site")} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calm")


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    """Return the first command of all, on a store that is not there yet."""
    return pipeline(folder, "run", *SMALL)


def beyond_the_start(stderr: str) -> list[str]:
    """Return the lines of standard error that TensorFlow does not print while it is imported."""
    return [line for line in stderr.splitlines() if not TENSORFLOW_STARTS.match(line)]


def test_a_run_says_what_it_does_and_nothing_else(first: subprocess.CompletedProcess[str]) -> None:
    assert ([], 0) == (beyond_the_start(first.stderr), first.returncode)
    lines = first.stdout.splitlines()
    assert len(RUN) == len(lines)
    assert [] == [line for pattern, line in zip(RUN, lines, strict=True) if not re.fullmatch(pattern, line)]


def test_closed_standard_streams_stop_no_command(first: subprocess.CompletedProcess[str], folder: Path) -> None:
    """As under cron, in a daemon, and with pythonw."""
    words = [sys.executable, "-m", "pipeline", "train", *SMALL, "--new"]
    shell = ["sh", "-c", '"$0" "$@" 0<&- 1>&- 2>&-', *words]
    done = subprocess.run(shell, cwd=folder, capture_output=True, env=environment(), check=False)
    assert 0 == done.returncode, done.stderr


@pytest.mark.slow
def test_in_a_log_a_comparison_is_a_line_per_epoch(first: subprocess.CompletedProcess[str], folder: Path) -> None:
    done = pipeline(folder, "compare", *SMALL, "--cells", "rnn,gru", "--seeds", "5", "--register", "calm")

    assert ([], 0) == (beyond_the_start(done.stderr), done.returncode)
    assert re.fullmatch("[^\x00-\x09\x0b-\x1f\x7f]*", done.stdout)
    for name in ("rnn-digits-units=12-epochs=2-s5", "gru-digits-units=12-epochs=2-s5"):
        epochs = re.findall(rf"^{name}   trains   (\d)/2   \d\.\d{{4}}   \d+\.\d\d%", done.stdout, re.MULTILINE)
        assert ["1", "2"] == epochs
    last = rf"Run {HEX} holds the comparison\. Look at it with: mlflow ui, then open {PAGE}"
    assert re.fullmatch(last, done.stdout.splitlines()[-1])


SPEAK = """
import logging, warnings
from pipeline.startup import quieten, start_tensorflow
quieten()
start_tensorflow(1)
import alembic.runtime.migration, mlflow, mlflow.store.db.utils
logging.getLogger("mlflow.tracking").error("an error of MLflow")
logging.getLogger("mlflow.tracking").info("a remark of MLflow")
logging.getLogger("alembic.runtime.migration").error("an error of Alembic")
logging.getLogger("alembic.runtime.migration").info("a remark of Alembic")
import tensorflow as tf
tf.get_logger().error("an error of TensorFlow")
tf.get_logger().info("a remark of TensorFlow")
warnings.warn("a warning")
"""


def test_what_the_libraries_have_to_say_of_errors_is_shown() -> None:
    inherited = {name: value for name, value in os.environ.items() if not re.match("MLFLOW_|TF_", name)}
    done = subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True, check=True, env=inherited)

    said = ("an error of MLflow", "an error of Alembic", "an error of TensorFlow", "a warning")
    assert [True] * 4 == [text in done.stderr for text in said]
    assert "a remark" not in done.stderr
    assert "" == done.stdout
