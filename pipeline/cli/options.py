"""The options of a command: its own, and one for each parameter, which takes text that the settings check.

So a wrong value gets the same message wherever it comes from: the command line, a file, ``mlflow run -P``.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from annotated_doc import Doc

from pipeline.cli import configuration
from pipeline.cli.configuration import Configuration
from pipeline.commands import REQUIRED, Command, Option, Takes
from pipeline.execution import grid
from pipeline.settings import NETWORK_PARAMETERS, DataSettings

PANELS, GENERAL = ("Data", "Network", "Training"), "General"

CONFIG = typer.Option(
    "--config",
    metavar="<file>",
    help="YAML file with values of these options; typed options override it. It is kept with the run.",
    parser=configuration.read,
    callback=configuration.fill_in,
    is_eager=True,
    rich_help_panel=GENERAL,
)
QUIET = typer.Option("--quiet", help="Results and errors only.", rich_help_panel=GENERAL)
VERBOSE = typer.Option(
    "--verbose", help="Messages of TensorFlow and MLflow too, and tracebacks.", rich_help_panel=GENERAL
)


def of_command(command: Command) -> list[inspect.Parameter]:
    """Return all options of a command: its own, one per parameter (None until the user gives it), and the general."""
    own = [_own(option) for option in command.options]
    config = [_parameter("config", Configuration | None, CONFIG, None)] if command.takes else []
    general = [_parameter("quiet", bool, QUIET, False), _parameter("verbose", bool, VERBOSE, False)]
    return [*own, *_of_settings(command.takes), *config, *general]


def _own(option: Option) -> inspect.Parameter:
    default = "" if option.default in (None, False, REQUIRED) else f" Default: {option.default}."
    if option.type == list[str] and option.default is REQUIRED:
        declared: Any = typer.Argument(metavar=option.name.upper(), help=option.help)
    else:
        flag = f"--{option.flag or option.name.replace('_', '-')}"
        declared = typer.Option(flag, help=option.help + default, show_default=False, min=option.least)
    unset = inspect.Parameter.empty if option.default is REQUIRED else option.default
    return _parameter(option.name, option.type, declared, unset)


def _of_settings(takes: Takes | None) -> list[inspect.Parameter]:
    if takes is None:
        return []
    hints = get_type_hints(takes.fields, include_extras=True)
    grouped = sorted(fields(takes.fields), key=lambda field: PANELS.index(_panel(field.name)))
    return [_of_field(field, hints[field.name], several=takes.several) for field in grouped]


def _of_field(field: Field[Any], hint: Any, *, several: bool) -> inspect.Parameter:
    several = several and field.name in grid.OPTIONS
    name = grid.OPTIONS[field.name] if several else field.name
    default = grid.COMPARED.get(name, field.default) if several else field.default
    text = next(item.documentation for item in get_args(hint) if isinstance(item, Doc))
    value_type = get_args(hint)[0]
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        metavar=f"<{_kind(value_type)}{',…' if several else ''}>",
        help=text if default is MISSING else f"{text} Default: {default}.",
        show_default=False,
        autocompletion=_completion(value_type),
        rich_help_panel=_panel(field.name),
    )
    return _parameter(name, str | None, option, None)


def _kind(value_type: Any) -> str:
    choices = _choices(value_type)
    if choices and get_origin(value_type) is not Literal:  # or what the help says
        return "|".join([*choices, "…"])
    return "|".join(choices) if choices else str(value_type.__name__).lower()


def _choices(value_type: Any) -> tuple[str, ...]:
    """Return the values of a choice, also where something else may be given instead."""
    if get_origin(value_type) is Literal:
        return get_args(value_type)
    return next((get_args(each) for each in get_args(value_type) if get_origin(each) is Literal), ())


def _completion(value_type: Any) -> Callable[[str], list[str]] | None:
    """Return what completes a choice, or the last one of several separated by commas."""
    choices = _choices(value_type)
    if not choices:
        return None

    def complete(incomplete: str) -> list[str]:
        done, comma, begun = incomplete.rpartition(",")
        return [f"{done}{comma}{choice}" for choice in choices if choice.startswith(begun)]

    return complete


def _panel(name: str) -> str:
    if name in {field.name for field in fields(DataSettings)}:
        return PANELS[0]
    return PANELS[1] if name in NETWORK_PARAMETERS else PANELS[2]


def _parameter(name: str, value_type: Any, option: Any, default: object) -> inspect.Parameter:
    annotation = Annotated[value_type, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
