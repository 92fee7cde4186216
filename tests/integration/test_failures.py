"""Wrong requests get an error of one paragraph and an exit code, and leave nothing unfinished."""

from pathlib import Path

import mlflow
import pytest

from tests.integration.conftest import DIGITS, Command, newest, one_line, run_count
from tests.servers import free_port


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--cell", "transformer"), "transformer"),
        (("run", "--epochs", "0"), "epochs: must be at least 1; got 0."),
        (("run", "--epochs", "many"), "epochs: must be a whole number; got 'many'."),
        (("run", "--learning-rate", "-1"), "learning_rate: must be greater than 0; got -1."),
        (("run", "--learning-rate", "nan"), "learning_rate: must be a finite number; got nan."),
        (
            ("run", "--batch-size", "2000"),
            "batch_size: must be at most 1,293, the number of training examples of digits; got 2,000.",
        ),
        (("run", "--steps", "7"), "steps: must divide 8 × 8 = 64 pixels; got 7."),
        (("run", "--momentum", "1"), "momentum"),
        (("compare", "--batch-size", "2000", "--workers", 1), "batch_size: must be at most 1,293"),
    ],
)
def test_wrong_usage_ends_with_2_and_opens_no_run(
    command: Command, digits_run: str, arguments: tuple[str, ...], said: str
) -> None:
    before = run_count()

    result = command(*arguments, "--dataset", "digits", exit_code=2)

    assert said in one_line(result)
    assert "Traceback" not in result.output
    assert before == run_count()


def test_a_missing_run_or_missing_data_is_named(command: Command, digits_run: str, tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        pass
    for arguments, said in (
        (("evaluate", "--run-id", "0" * 32), f"There is no run '{'0' * 32}'"),
        (("evaluate", "--run-id", run.info.run_id), "run_id: must be a training run of this pipeline"),
        (("evaluate", "--run-id", digits_run, "--data-dir", tmp_path), "pipeline preprocess"),
        (("train", "--dataset", "digits", "--data-dir", tmp_path), "pipeline download"),
    ):
        result = command(*arguments, exit_code=1)
        assert said in result.output
        assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [DIGITS, ("predict", "7.png", "--model", "models:/m@champion"), ("serve", "--model", "models:/m/1", "--port", 0)],
)
def test_a_tracking_server_that_does_not_answer_is_found_before_anything_is_done(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, arguments: tuple[object, ...]
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.chdir(tmp_path)

    output = command(*arguments, exit_code=1).output

    assert f"No answer from the tracking server. Tracking server: {address}." in output
    assert "MLFLOW_TRACKING_URI" in output
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [DIGITS, ("train",), ("compare", "--cells", "rnn,gru", "--workers", 1), ("search", "--trials", 2, "--workers", 1)],
)
def test_a_place_for_artifacts_that_cannot_be_written_is_found_before_anything_is_done(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, arguments: tuple[object, ...]
) -> None:
    place = tmp_path / "file"
    place.touch()
    experiment = mlflow.create_experiment(str(tmp_path), artifact_location=str(place))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)

    result = command(*arguments, "--dataset", "digits", "--data-dir", tmp_path / "data", exit_code=1)

    assert f"Files of runs cannot be written to {place}" in result.output
    assert [] == mlflow.search_runs([experiment], output_format="list")
    assert not (tmp_path / "data").exists()


def test_a_cost_that_is_not_finite_ends_the_run_as_failed(command: Command, digits_run: str) -> None:
    result = command("train", "--dataset", "digits", "--learning-rate", "1e38", "--epochs", 3, exit_code=1)

    assert "learning_rate" in result.output
    run = newest()
    assert "FAILED" == run.info.status
    assert run.data.tags["error"] in one_line(result)
    assert run.outputs is None or not run.outputs.model_outputs
