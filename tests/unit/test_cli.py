"""The command line matches the table of commands: options, help, completion, entry points of the project."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from pipeline import __version__
from pipeline.cli import app
from pipeline.commands import COMMANDS
from pipeline.execution.grid import COMPARED
from pipeline.settings import Settings
from pipeline.tracking import schema

PROJECT = Path(__file__).parents[2]
ENTRY_POINTS: dict[str, Any] = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
STAGES = {"run" if name == "main" else name: entry for name, entry in ENTRY_POINTS.items()}


@pytest.fixture(autouse=True)
def log_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the log levels of this process, which a command changes permanently."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments), prog_name="pipeline")


BUILT: Any = get_command(app.app)


def options(name: str) -> dict[str, Any]:
    """Return the options of a command in Typer, by name."""
    return {each.opts[0].lstrip("-").replace("-", "_"): each for each in BUILT.commands[name].params}


def test_help_lists_each_command_with_its_purpose_on_one_line() -> None:
    output = invoke("--help").output
    assert output == invoke().output
    assert "Train, compare and serve RNNs, LSTMs and GRUs on images or sequences." in output
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert {f"{name} {command.help.splitlines()[0]}" for name, command in COMMANDS.items()} <= set(lines)
    assert f"{__version__}\n" == invoke("--version").output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_each_option_with_its_default_once_and_examples(name: str) -> None:
    text = " ".join(invoke(name, "--help").output.split())
    defaults = {field.name: str(field.default) for field in fields(Settings)} | {
        "shards": "number of cores, at most 4",
        "columns": "id, time and label",
        "recipe": "tutorial; for sequence data, the recipe named sequences",
    }
    defaults |= COMPARED if name == "compare" else {}
    for option, parameter in options(name).items():
        assert parameter.help[0].isupper()
        if COMMANDS[name].takes and option in defaults:
            assert parameter.help.endswith(f"Default: {defaults[option]}.")
    assert f"Examples: pipeline {name}" in text
    typed = {word for example in COMMANDS[name].examples for word in example.split() if word.startswith("--")}
    assert typed <= {flag for parameter in options(name).values() for flag in parameter.opts}


def test_the_parameters_stand_in_groups() -> None:
    output = invoke("compare", "--help").output
    headings = [line for line in output.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert ["Options:", "Data:", "Network:", "Training:", "General:"] == headings


def test_options_that_are_no_parameters_do_not_split_groups() -> None:
    """`mlflow run` logs all its parameters as params."""
    own = {option.name for name in ("run", "train", "evaluate") for option in COMMANDS[name].options}
    assert own | {"quiet", "verbose", "config"} == schema.COMMAND_OPTIONS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--force", "true", "--rollback", "false"), "run_id: needs"), (("--rollback", "True"), "name: needs")],
)
def test_a_switch_takes_a_value_from_mlflow_run(arguments: tuple[str, ...], said: str) -> None:
    assert said in invoke("promote", *arguments).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("run", "--epoch", "3"),
            "No such option: --epoch (Possible options: --epochs, --warmup-epochs). See `pipeline run --help`.",
        ),
        (("frobnicate",), "No such command 'frobnicate'. See `pipeline --help`."),
        (("rum",), "No such command 'rum'. Did you mean 'run'? See `pipeline --help`."),
        (("predict", "7.png"), "model: must be given."),
        (("predict", "--model", "m"), "paths: must be given."),
        (("serve", "--model", "m", "--port", "x"), "port: must be a whole number; got 'x'."),
        (("run", "--cell"), "Option '--cell' requires an argument."),
        (("run", "surplus"), "Got unexpected extra argument(s) (surplus). See `pipeline run --help`."),
        (("run", "--epochs", "many"), "epochs: must be a whole number; got 'many'."),
        (("report", "--format", "mardown"), "format: must be 'markdown', 'csv' or 'json'; got 'mardown'."),
        (("compare", "--workers", "0"), "workers: must be at least 1; got 0."),
        (("run", "--ema", "nan"), "ema: must be a finite number; got nan."),
        (("run", "--batch_size", "0"), "batch_size: must be at least 1; got 0."),
        (("run", "--batch-size", "0"), "batch_size: must be at least 1; got 0."),
        (("run", "--source", ""), "source: must have at least 1 character; got ''."),
        (
            ("run", "--recipe", "acurate"),
            "recipe: must be 'tutorial', 'accurate', 'deep', 'quick', 'pixels' or 'sequences'; got 'acurate'. Did you "
            "mean accurate?",
        ),
    ],
)
def test_a_wrong_value_gives_one_paragraph_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    result = invoke(*arguments)
    assert (2, "") == (result.exit_code, result.stdout)
    assert f"Error: {said}" in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "relax_garbage_collection", lambda: 1 // 0)
    assert isinstance(invoke("runs").exception, ZeroDivisionError)


def test_verbose_shows_where_an_error_was() -> None:
    assert "Traceback" not in invoke("run", "--epochs", "0").stderr
    stderr = invoke("run", "--epochs", "0", "--verbose").stderr
    assert "Traceback" in stderr
    assert stderr.endswith("Error: epochs: must be at least 1; got 0.\n")


def completed(*words: str) -> list[str]:
    """Return the words that bash offers for the last word of a command line."""
    line = " ".join(("pipeline", *words))
    environment = {"_PIPELINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    return CliRunner().invoke(app.app, [], prog_name="pipeline", env=environment).output.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("comp",), ["compare"]),
        (("run", "--hid"), ["--hidden-units"]),
        (("run", "--cell", ""), ["rnn", "lstm", "gru", "mgu"]),
        (("compare", "--cells", "rnn,l"), ["rnn,lstm"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words: tuple[str, ...], offered: list[str]) -> None:
    assert offered == completed(*words)


def test_help_imports_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli.app import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0 and 'evaluate' in result.output; "
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'sklearn', 'matplotlib', 'pydantic', 'yaml', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout


def test_entry_points_are_the_commands_that_end() -> None:
    assert {name for name, each in COMMANDS.items() if each.takes} | {"promote"} == STAGES.keys()
    declared = {name for entry in STAGES.values() for name in entry.get("parameters", {})}
    assert declared - {"run_id"} == app.DECLARED


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_point_runs_its_stage_with_its_declared_defaults(stage: str) -> None:
    declared = STAGES[stage].get("parameters", {})
    defaults = {field.name: field.default for field in fields(Settings)} | COMPARED
    assert declared.keys() <= options(stage).keys()
    assert all(entry.get("default") == defaults.get(name) for name, entry in declared.items())
    passed = [f"--{name.replace('_', '-')} {{{name}}}" for name in declared]
    assert " ".join(["python -m pipeline", stage, *passed]) == STAGES[stage]["command"]
