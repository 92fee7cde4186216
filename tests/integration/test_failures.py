"""Wrong requests get an error of one paragraph and an exit code, and leave nothing unfinished."""

import shlex
from pathlib import Path

import mlflow
import pytest

from tests.integration.conftest import DIGITS, Command, newest, one_line, run_count
from tests.servers import free_port


@pytest.mark.parametrize(
    ("typed", "exit_code", "said"),
    [
        ("run --dataset digits --cell transformer", 2, "transformer"),
        ("run --dataset digits --epochs 0", 2, "epochs: must be at least 1; got 0."),
        ("run --dataset digits --epochs many", 2, "epochs: must be a whole number; got 'many'."),
        ("run --dataset digits --learning-rate -1", 2, "learning_rate: must be greater than 0; got -1."),
        ("run --dataset digits --learning-rate nan", 2, "learning_rate: must be a finite number; got nan."),
        (
            "run --dataset digits --batch-size 2000",
            2,
            "batch_size: must be at most 1,293, the number of training examples of digits; got 2,000.",
        ),
        ("run --dataset digits --steps 7", 2, "steps: must divide 8 × 8 = 64 pixels; got 7."),
        ("run --dataset digits --momentum 1", 2, "momentum"),
        ("run --dataset digits --register a/b", 2, "name: must have at most 256 characters, none of"),
        ("compare --dataset digits --batch-size 2000 --workers 1", 2, "batch_size: must be at most 1,293"),
        ("search --dataset digits --range lerning_rate=1..2", 2, "Did you mean learning_rate?"),
        (
            "search --dataset digits --range dropout=0..0.5 --dropout 0.1",
            2,
            "must be a value or a range; got both",
        ),
        ("search --dataset digits --trials 0", 2, "trials"),
        ("search --dataset digits --cell gru,gru", 2, "must name each cell once"),
        (
            "search --dataset digits --range layers=1..2 --range hidden_units=64,100000",
            2,
            "must be at most 8192",
        ),
        ("search --dataset digits --patience 2 --schedule cosine", 2, "patience"),
        ("promote", 2, "run_id: needs the ID of the run to promote"),
        ("promote --rollback", 2, "name: needs the name of the registered model"),
        ("promote --run-id {none}", 1, "There is no run '{none}'"),
        ("promote --run-id {run} --name a/b", 2, "name: must have at most 256 characters, none of"),
        ("report", 2, "parent, filter: exactly one of them must be given; got neither."),
        ("report --parent a --filter b", 2, "parent, filter: exactly one of them must be given; got both."),
        ("report --filter ' '", 2, "filter: must be an MLflow filter such as"),
        ("report --filter 'colour = red'", 2, "got 'colour = red'. MLflow says: "),
        ("report --filter \"tags.a = 'b'\"", 1, "matches none."),
        ("report --parent {none}", 1, "There is no run '{none}'"),
        ("report --parent {run}", 1, "must be a run that has training runs as children; '{run}' has none."),
        ("evaluate --run-id {none}", 1, "There is no run '{none}'"),
        ("evaluate --run-id {run} --data-dir {folder}", 1, "pipeline preprocess"),
        ("train --dataset digits --data-dir {folder}", 1, "pipeline download"),
    ],
)
def test_a_wrong_command_ends_with_one_paragraph_and_opens_no_run(
    command: Command, digits_run: str, tmp_path: Path, *, typed: str, exit_code: int, said: str
) -> None:
    names, before = {"run": digits_run, "none": "0" * 32, "folder": tmp_path}, run_count()

    result = command(*shlex.split(typed.format(**names)), exit_code=exit_code)

    assert said.format(**names) in one_line(result)
    assert "Traceback" not in result.output
    assert before == run_count()


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
