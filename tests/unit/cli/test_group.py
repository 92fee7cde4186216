"""What is wrong with a command line, switches, and options before a command."""

from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app


@pytest.fixture(autouse=True)
def log_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the log levels of this process, which --verbose would set for good."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments), prog_name="pipeline")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("run", "--epoch", "3"),
            "--epoch: there is no parameter of this name. Did you mean --epochs or --warmup-epochs? "
            "See `pipeline run --help`.",
        ),
        (("run", "--zzz"), "--zzz: there is no parameter of this name. See `pipeline run --help`."),
        (("frobnicate",), "No such command 'frobnicate'. See `pipeline --help`."),
        (("predict", "7.png"), "model: expected a value, received none. See `pipeline predict --help`."),
        (("evaluate",), "run_id: expected a value, received none. See `pipeline evaluate --help`."),
        (("serve", "--model", "m", "--port", "x"), "port: expected a valid integer, unable to parse"),
        (("run", "--cell"), "Option '--cell' requires an argument."),
        (("run", "surplus"), "Got unexpected extra argument(s) (surplus). See `pipeline run --help`."),
        (("run", "--epochs", "many"), "epochs: expected a valid integer, received 'many'."),
        (
            ("run", "--cell", "elman"),
            "cell: expected 'rnn', 'lstm', 'gru' or 'mgu', or MODULE:CLASS of a custom cell",
        ),
        (("run", "--ema", "nan"), "ema: expected a finite number, received nan."),
    ],
)
def test_what_is_wrong_is_one_paragraph_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert 2 == result.exit_code
    assert "" == result.stdout
    assert result.stderr.startswith(f"Error: {said}")
    assert 1 == len(result.stderr.splitlines())


def test_under_mlflow_run_a_parameter_goes_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)

    assert "Error: epoch: there is no parameter of this name. Did you mean epochs or" in run("run", "--epoch=3").stderr


def test_without_a_command_it_shows_its_help() -> None:
    result = run()

    assert 2 == result.exit_code
    assert "Usage: pipeline [OPTIONS] COMMAND" in result.output
    assert "Error" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [("--quiet", "--verbose", "run"), ("--quiet", "run", "--verbose"), ("run", "--quiet", "--verbose")]
)
def test_what_goes_for_every_command_may_stand_before_it(arguments: tuple[str, ...]) -> None:
    assert "quiet, verbose: expected one of the two, received both." in run(*arguments).stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.command.grid", lambda given: 1 // 0)

    assert isinstance(run("compare").exception, ZeroDivisionError)


def test_verbose_shows_where_an_error_was() -> None:
    assert "Traceback" not in run("run", "--epochs", "0").stderr
    stderr = run("run", "--epochs", "0", "--verbose").stderr
    assert "Traceback" in stderr
    assert stderr.endswith("Error: epochs: expected greater than or equal to 1, received 0.\n")
