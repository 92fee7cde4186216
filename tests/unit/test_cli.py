import os
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
from pipeline.execution.grid import COMPARED
from pipeline.settings import DataSettings, Settings
from pipeline.tracking import schema

PROJECT = Path(__file__).parents[2]
SETTINGS = {
    "download": DataSettings,
    "preprocess": DataSettings,
    "train": Settings,
    "evaluate": DataSettings,
    "run": Settings,
    "compare": Settings,
    "search": Settings,
    "report": DataSettings,
}
EVERYWHERE = {"quiet", "verbose"}
OWN = {
    "evaluate": {"run_id", "trust"},
    "report": {"parent", "filter_string", "output", "form"},
    "train": {"resume", "new", "force"},
    "run": {"resume", "new", "force", "register"},
    "compare": {"workers", "on", "register", "against", "dry_run"},
    "search": {"ranges", "trials", "seconds", "confirm", "workers", "on", "register"},
}

WITHOUT_SETTINGS = {
    "promote": {"run_id", "name", "force", "rollback", "trust"},
    "predict": {"paths", "model", "trust", "output", "as_json", "by_step", "column", "on"},
    "serve": {"model", "trust", "host", "port", "allowed_host"},
    "runs": {"limit", "data_dir", "as_json"},
    "doctor": {"data_dir", "as_json"},
    "clean": {"data_dir", "dry_run"},
}


def test_what_is_an_option_and_no_parameter_parts_no_group_of_a_comparison() -> None:
    """`mlflow run` logs all that it is given as params."""
    assert OWN["run"] | OWN["train"] | OWN["evaluate"] | EVERYWHERE | {"config"} == schema.COMMAND_OPTIONS


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments))


def commands() -> dict[str, Any]:
    return dict(get_command(app.app).commands)  # type: ignore[attr-defined]


def names_of(stage: str, settings: type[DataSettings]) -> set[str]:
    """Return the names of a stage's settings; a comparison takes lists of two of them."""
    plural = {"cell": "cells", "seed": "seeds"} if stage == "compare" else {}
    return {plural.get(field.name, field.name) for field in fields(settings)}


def test_the_commands_are_the_stages() -> None:
    assert SETTINGS.keys() | WITHOUT_SETTINGS.keys() == commands().keys()


@pytest.mark.parametrize(("stage", "settings"), SETTINGS.items())
def test_the_options_of_a_stage_are_its_settings(stage: str, settings: type[DataSettings]) -> None:
    options = {parameter.name for parameter in commands()[stage].params}

    assert names_of(stage, settings) | OWN.get(stage, set()) | EVERYWHERE | {"config"} == options


@pytest.mark.parametrize(("stage", "options"), WITHOUT_SETTINGS.items())
def test_the_others_have_options_of_their_own(stage: str, options: set[str]) -> None:
    assert options | EVERYWHERE == {parameter.name for parameter in commands()[stage].params}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--force", "true", "--rollback", "false"), "run_id: expected"), (("--rollback", "True"), "name: expected")],
)
def test_a_switch_takes_a_value_as_mlflow_run_hands_it_on(arguments: tuple[str, ...], said: str) -> None:
    assert said in invoke("promote", *arguments).output


@pytest.mark.parametrize("stage", [*SETTINGS, *WITHOUT_SETTINGS])
def test_every_option_and_command_has_help(stage: str) -> None:
    command = commands()[stage]

    assert command.help
    assert all(parameter.help for parameter in command.params)


@pytest.mark.parametrize(("stage", "settings"), SETTINGS.items())
def test_help_shows_each_default(stage: str, settings: type[DataSettings]) -> None:
    helps = {parameter.name: parameter.help for parameter in commands()[stage].params}

    defaults = {field.name: str(field.default) for field in fields(settings)} | {"shards": "cores, at most 4"}
    defaults |= {"cells": "rnn,lstm,gru", "seeds": "1,2,3"}
    for name in names_of(stage, settings):
        assert helps[name].endswith(f"Default: {defaults[name]}.")


@pytest.mark.parametrize("spelling", ["--batch-size", "--batch_size"])
def test_both_spellings_reach_the_settings(monkeypatch: pytest.MonkeyPatch, spelling: str, tmp_path: Path) -> None:
    result = invoke("train", spelling, "0", "--data_dir", str(tmp_path))

    assert 2 == result.exit_code
    assert "batch_size: expected greater than or equal to 1, received 0." in result.output


@pytest.mark.parametrize("stage", [*SETTINGS, *WITHOUT_SETTINGS])
def test_help_shows_examples_groups_and_switches_and_each_default_once(stage: str) -> None:
    output = invoke(stage, "--help").output

    text = " ".join(output.replace("│", " ").split())
    assert f"Examples pipeline {stage}" in text
    assert ("─ Data ─" in output) == (stage in SETTINGS)
    assert "<bool>" not in text
    assert "[default" not in text


def test_the_commands_stand_in_groups() -> None:
    output = invoke("--help").output

    assert all(f"─ {panel} ─" in output for panel in (app.TRAINING, app.STEPS, app.MODELS, app.HOUSE))
    assert "─ Commands ─" not in output


def completed(*words: str) -> list[str]:
    """Return what a bash would offer for the last word of a command line."""
    line = " ".join(("pipeline", *words))
    environment = {"_PIPELINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    command = [sys.executable, "-m", "pipeline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("comp",), ["compare"]),
        (("run", "--hid"), ["--hidden-units"]),
        (("run", "--cell", ""), ["rnn", "lstm", "gru", "mgu"]),
        (("run", "--dataset", "k"), ["kmnist"]),
        (("compare", "--cells", "rnn,l"), ["rnn,lstm"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words: tuple[str, ...], offered: list[str]) -> None:
    assert offered == completed(*words)


@pytest.mark.skipif(sys.platform == "win32", reason="a bash on Windows has its home elsewhere")
def test_completion_can_be_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "--install-completion", "bash"]
    environment = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "_PIPELINE_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "pipeline.sh").read_text()


def test_version() -> None:
    assert f"{__version__}\n" == invoke("--version").output


def test_help_imports_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli.app import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0 and 'evaluate' in result.output; "
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'sklearn', 'matplotlib', 'pydantic', 'yaml'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout


def entry_points() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"])


def entry_point_of(stage: str) -> str:
    return "main" if stage == "run" else stage


def test_the_entry_points_of_the_project_are_the_stages() -> None:
    assert SETTINGS.keys() | {"promote"} == {"run" if name == "main" else name for name in entry_points()}


@pytest.mark.parametrize("stage", [*sorted(SETTINGS), "promote"])
def test_what_an_entry_point_declares_is_an_option_with_the_default_of_the_settings(stage: str) -> None:
    declared = entry_points()[entry_point_of(stage)].get("parameters", {})
    settings = SETTINGS.get(stage)
    defaults = {field.name: field.default for field in fields(settings)} | COMPARED if settings else {}

    assert declared.keys() <= {parameter.name for parameter in commands()[stage].params}
    for name, declaration in declared.items():
        assert declaration.get("default") == defaults.get(name)


@pytest.mark.parametrize("stage", [*sorted(SETTINGS), "promote"])
def test_an_entry_point_runs_its_stage_and_hands_on_what_it_declares(stage: str) -> None:
    entry = entry_points()[entry_point_of(stage)]
    options = [f"--{name.replace('_', '-')} {{{name}}}" for name in entry.get("parameters", {})]

    assert " ".join(["python -m pipeline", stage, *options]) == entry["command"]
