"""Settings to options: each field is an option that takes text, which the settings check.

So a wrong value is told in the same words wherever it comes from: the command
line, a file, ``mlflow run -P``. Both ``--batch-size`` and ``--batch_size`` work.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from annotated_doc import Doc

from pipeline.cli import configuration
from pipeline.cli.configuration import Configuration
from pipeline.execution import grid
from pipeline.settings import NETWORK_PARAMETERS, DataSettings

PANELS = ("Data", "Network", "Training")

Config = Annotated[
    Configuration | None,
    typer.Option(
        "--config",
        metavar="<file>",
        help="YAML file with values of any of these; what is typed wins. It is kept with the run.",
        parser=configuration.read,
        callback=configuration.fill_in,
        is_eager=True,
    ),
]
Resume = Annotated[
    str | None, typer.Option("--resume", help="Go on with this MLflow run, which was cut off; it has its parameters.")
]
New = Annotated[
    bool, typer.Option("--new", help="Do not go on with a run of the same training that was cut off: train anew.")
]
ForceMemory = Annotated[bool, typer.Option("--force", help="Try it even if it cannot fit into the memory.")]
Register = Annotated[
    str | None, typer.Option("--register", help="Then register the model by this name; champion, if it is better.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Trainings side by side. Default: as many as the machine takes."),
]
On = Annotated[
    str,
    typer.Option(
        "--on",
        help="Where trainings run: local; ray: the cluster at RAY_ADDRESS; or ray://HOST:10001. Default: local.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show results and errors alone.", rich_help_panel="Output")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", help="Show what TensorFlow and MLflow say, and where an error was.", rich_help_panel="Output"
    ),
]


def of_settings(settings_class: type[DataSettings], *, lists: bool = False) -> list[inspect.Parameter]:
    """Return an option per field of the settings, and ``--config``; each is None until the user gives it.

    With ``lists`` they are those of a comparison: most take several values.
    """
    hints = get_type_hints(settings_class, include_extras=True)
    grouped = sorted(fields(settings_class), key=lambda field: PANELS.index(_panel(field.name)))
    options = [_of_field(field, hints[field.name], lists=lists) for field in grouped]
    return [*options, _parameter("config", Config, None)]


def of_output() -> list[inspect.Parameter]:
    """Return the options of every command."""
    return [_parameter("quiet", Quiet, False), _parameter("verbose", Verbose, False)]


def _of_field(field: Field[Any], hint: Any, *, lists: bool) -> inspect.Parameter:
    several = lists and field.name in grid.OPTIONS
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
    return _parameter(name, Annotated[str | None, option], None)


def _kind(value_type: Any) -> str:
    choices = _choices(value_type)
    if choices and get_origin(value_type) is not Literal:  # some, or what the help says beside them
        return "|".join([*choices, "…"])
    return "|".join(choices) if choices else str(value_type.__name__).lower()


def _choices(value_type: Any) -> tuple[str, ...]:
    """Return the values of a choice, also where anything else may stand in their place."""
    if get_origin(value_type) is Literal:
        return get_args(value_type)
    return next((get_args(each) for each in get_args(value_type) if get_origin(each) is Literal), ())


def _completion(value_type: Any) -> Callable[[str], list[str]] | None:
    """Return what completes a choice, or the last one of several that are parted by commas."""
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


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
