"""The options of a command as Typer has them."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from pipeline.cli import configuration
from pipeline.cli.configuration import Configuration
from pipeline.commands import REQUIRED, Command, Option

GENERAL = "General"

CONFIG = typer.Option(
    "--config",
    metavar="<file>",
    help="YAML file with values of these options; typed options override it. It is kept with the run.",
    parser=configuration.read,
    callback=configuration.fill_in,
    is_eager=True,
    rich_help_panel=GENERAL,
)
QUIET = Option("quiet", bool, "Results and errors only.", False, panel=GENERAL)
VERBOSE = Option("verbose", bool, "Messages of TensorFlow and MLflow too, and tracebacks.", False, panel=GENERAL)


def of_command(command: Command) -> list[inspect.Parameter]:
    """Return all options of a command: its own, its parameters, and those of every command."""
    own = [_declared(option) for option in (*command.options, *command.parameters)]
    config = [_argument("config", Configuration | None, CONFIG, None)] if command.takes else []
    return [*own, *config, _declared(QUIET), _declared(VERBOSE)]


def _declared(option: Option) -> inspect.Parameter:
    if option.type == list[str] and option.default is REQUIRED:
        argument = typer.Argument(metavar=option.name.upper(), help=option.help)
        return _argument(option.name, option.type, argument, inspect.Parameter.empty)
    default = "" if option.default in (None, False, REQUIRED) else f" Default: {option.default}."
    declared = typer.Option(
        f"--{option.flag or option.name.replace('_', '-')}",
        metavar=option.metavar,
        help=option.help + default,
        show_default=False,
        min=option.least,
        autocompletion=_completion(option.choices) if option.choices else None,
        rich_help_panel=option.panel,
    )
    unset = inspect.Parameter.empty if option.default is REQUIRED else option.default
    return _argument(option.name, option.type, declared, unset)


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what completes a choice, or the last one of several separated by commas."""

    def complete(incomplete: str) -> list[str]:
        done, comma, begun = incomplete.rpartition(",")
        return [f"{done}{comma}{choice}" for choice in choices if choice.startswith(begun)]

    return complete


def _argument(name: str, value_type: Any, option: Any, default: object) -> inspect.Parameter:
    annotation = Annotated[value_type, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
