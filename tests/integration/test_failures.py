"""What a user gets who asks for what cannot be: one paragraph, an exit code, and nothing half done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from tests.integration.conftest import Command, Training, free_port

DIGITS = ("--dataset", "digits")


def runs() -> list[Run]:
    return mlflow.search_runs(output_format="list", order_by=["start_time DESC"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cell", "transformer"), "transformer"),
        (("--epochs", "0"), "epochs: must be at least 1; got 0."),
        (("--epochs", "many"), "epochs: must be a whole number; got 'many'."),
        (("--learning-rate", "-1"), "learning_rate: must be greater than 0; got -1."),
        (("--learning-rate", "nan"), "learning_rate: must be a finite number; got nan."),
        (
            ("--batch-size", "2000"),
            "batch_size: must be at most 1,293, the number of training examples of digits; got 2,000.",
        ),
        (("--steps", "7"), "steps: expected a divisor of 8 × 8 = 64 pixels, received 7."),
        (("--momentum", "1"), "momentum"),
    ],
)
def test_wrong_usage_ends_with_2_and_opens_no_run(
    command: Command, digits_run: Training, arguments: tuple[str, ...], said: str
) -> None:
    before = len(runs())

    result = command("run", *DIGITS, *arguments, exit_code=2)

    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert before == len(runs())


def test_a_run_that_does_not_exist_is_named(command: Command, digits_run: Training) -> None:
    result = command("evaluate", "--run-id", "0" * 32, exit_code=1)

    assert f"run_id: expected a run of this tracking server, received '{'0' * 32}'" in result.output
    assert "Traceback" not in result.output


def test_a_run_without_a_model_is_named(command: Command, digits_run: Training) -> None:
    with mlflow.start_run() as run:
        pass

    result = command("evaluate", "--run-id", run.info.run_id, exit_code=1)

    assert "run_id: must be a training run of this pipeline" in result.output


def test_a_run_whose_data_is_elsewhere_is_told_how_to_get_it(
    command: Command, digits_run: Training, tmp_path: Path
) -> None:
    result = command("evaluate", "--run-id", digits_run.run_id, "--data-dir", tmp_path, exit_code=1)

    assert "pipeline preprocess" in result.output


def test_training_before_preprocessing_is_told_what_to_run_first(command: Command, tmp_path: Path) -> None:
    result = command("train", *DIGITS, "--data-dir", tmp_path, exit_code=1)

    assert "pipeline download" in result.output


def test_a_tracking_server_that_does_not_answer_is_found_before_anything_is_done(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    started = time.monotonic()

    result = command("run", *DIGITS, "--data-dir", tmp_path / "data", exit_code=1)

    assert f"No answer from the tracking server. Tracking server: {address}." in result.output
    assert "MLFLOW_TRACKING_URI" in result.output
    assert not (tmp_path / "data").exists()
    assert time.monotonic() - started < 30  # MLflow's own patience is minutes


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", *DIGITS),
        ("train", *DIGITS),
        ("compare", *DIGITS, "--cells", "rnn,gru"),
        ("search", *DIGITS, "--trials", 2),
    ],
)
def test_a_place_for_artifacts_that_cannot_be_written_is_found_before_anything_is_done(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, arguments: tuple[object, ...]
) -> None:
    place = tmp_path / "file"
    place.touch()
    experiment = mlflow.create_experiment(str(tmp_path), artifact_location=str(place))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)

    result = command(*arguments, "--data-dir", tmp_path / "data", exit_code=1)

    assert f"Files of runs cannot be written to {place}" in result.output
    assert [] == mlflow.search_runs([experiment], output_format="list")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [("predict", "7.png"), ("serve", "--port", 0)])
def test_a_tracking_server_that_does_not_answer_is_found_before_a_model_is_asked_for(
    command: Command, monkeypatch: pytest.MonkeyPatch, *, arguments: tuple[object, ...]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()

    result = command(*arguments, "--model", "models:/mnist-gru@champion", exit_code=1)

    assert "No answer from the tracking server." in result.output
    assert time.monotonic() - started < 30


def test_a_cost_that_is_not_finite_ends_the_run_as_failed(command: Command, digits_run: Training) -> None:
    result = command("train", *DIGITS, "--learning-rate", "1e38", "--epochs", 3, exit_code=1)

    assert "learning_rate" in result.output
    run = runs()[0]
    assert "FAILED" == run.info.status
    assert run.data.tags["error"] in result.output.replace("\n", " ")
    assert run.outputs is None or not run.outputs.model_outputs


def test_a_termination_ends_the_run_as_killed(store: Path, digits_run: Training) -> None:
    command = [sys.executable, "-m", "pipeline", "train", *DIGITS, "--epochs", "100000", "--new"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "epoch" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        error = process.stderr.read()

    assert process.returncode == 130
    assert "KILLED" in error
    assert "Traceback" not in error
    assert "KILLED" == runs()[0].info.status
