"""A command of the table in Typer: options, configuration file, help, reporter and exit code.

A configuration file, ``--config experiment.yaml``, has lines such as ``epochs: 10``. A value is read like a typed one,
and a list like typed values separated by commas. Typed options override the file.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.main import get_command

from pipeline.cli.terminal import TerminalReporter, print_error
from pipeline.commands import REQUIRED, Command, Option
from pipeline.errors import PipelineError, UsageError, of_library, reason, suggestion
from pipeline.settings import MLFLOW_RUN_ID, expanded
from pipeline.startup import interruptible, quieten, relax_garbage_collection

GENERAL = "General"
QUIET = Option("quiet", bool, "Results and errors only.", False, panel=GENERAL)
VERBOSE = Option("verbose", bool, "Messages of TensorFlow and MLflow too, and tracebacks.", False, panel=GENERAL)

DECLARED = frozenset({"cell", "cells", "seed", "seeds"})
"""The settings that MLproject declares: ``mlflow run`` passes them on whether they were typed or not."""

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY, annotation=typer.Context)


class Configuration(NamedTuple):
    """A configuration file.

    Attributes:
        text: the content of the file.
        values: values by the name of the parameter, with underscores: True or False for switches, else text.
    """

    text: str
    values: Mapping[str, object]


def read(path: str) -> Configuration:
    """Return the parameters in a configuration file.

    Raises:
        UsageError: it cannot be read, or is not a YAML file with one value, or a list of values, per name.
    """
    import yaml

    try:
        text = expanded(Path(path)).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"config: expected a YAML file, received {path}: {problem}.") from None
    if not isinstance(content, dict):
        raise UsageError(f"config: expected lines such as `epochs: 10` in {path}, received {str(content)[:100]!r}.")
    names = {key: "on" if key is True else str(key).replace("-", "_") for key in content}  # YAML 1.1: on is true
    return Configuration(text, {names[key]: _value(names[key], value, path) for key, value in content.items()})


def _value(name: str, value: object, path: str) -> object:
    if isinstance(value, bool):
        return value
    parts: list[Any] = value if isinstance(value, list) else [value]
    if any(part is None or isinstance(part, dict | list) for part in parts):
        raise UsageError(f"{name}: expected a value or a list of values in {path}, received {str(value)[:100]!r}.")
    return ",".join(map(str, parts))


def _fill_in(ctx: typer.Context, value: Configuration | None) -> Configuration | None:
    """Use the parameters of a file unless they are typed.

    Raises:
        UsageError: the file has a parameter that the command does not take.
    """
    if value is None:
        return None
    known = {name_of(parameter): parameter for parameter in ctx.command.params if parameter.name != "config"}
    defaults: dict[str, object] = {}
    for name, given in value.values.items():
        if name not in known:
            hint = suggestion(name, known) or f" The parameters are {', '.join(sorted(known))}."
            raise UsageError(f"config: expected parameters of `{ctx.command_path}`, received {name}.{hint}")
        defaults[known[name].name] = [given] if getattr(known[name], "multiple", False) else given
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def name_of(parameter: Any) -> str:
    """Return the name of an option as used in files, ``mlflow run -P`` and error messages: ``batch_size``."""
    return str(parameter.opts[0]).lstrip("-").replace("-", "_")


def check_declared(configuration: Configuration, given: Mapping[str, object]) -> None:
    """Check that the defaults that ``mlflow run`` passes on equal the file's: MLflow has logged them irrevocably.

    Raises:
        UsageError: the file has another value.
    """
    if MLFLOW_RUN_ID not in os.environ:
        return
    for name in sorted(DECLARED & configuration.values.keys() & given.keys()):
        value = configuration.values[name]
        if str(given[name]) != str(value):
            raise UsageError(
                f"{name}: expected {value}, as in the configuration file, received {given[name]} from `mlflow run`, "
                f"which passes on its default. Add -P {name}={value}."
            )


CONFIG = typer.Option(
    "--config",
    metavar="<file>",
    help="YAML file with values of these options; typed options override it. It is kept with the run.",
    parser=read,
    callback=_fill_in,
    is_eager=True,
    rich_help_panel=GENERAL,
)


def _options(command: Command) -> list[inspect.Parameter]:
    """Return all options of a command: its own, its parameters, and those that all commands share."""
    own = [_declared(option) for option in (*command.options, *command.parameters)]
    config = [_parameter("config", Configuration | None, CONFIG, None)] if command.takes else []
    return [*own, *config, _declared(QUIET), _declared(VERBOSE)]


def _declared(option: Option) -> inspect.Parameter:
    if option.type == list[str] and option.default is REQUIRED:
        argument = typer.Argument(metavar=option.name.upper(), help=option.help)
        return _parameter(option.name, option.type, argument)
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
    return _parameter(option.name, option.type, declared, option.default)


def _parameter(name: str, value_type: Any, declared: Any, default: object = REQUIRED) -> inspect.Parameter:
    unset = inspect.Parameter.empty if default is REQUIRED else default
    annotation = Annotated[value_type, declared]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=unset, annotation=annotation)


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function that completes a choice, or the last of several separated by commas."""

    def complete(incomplete: str) -> list[str]:
        done, comma, begun = incomplete.rpartition(",")
        return [f"{done}{comma}{choice}" for choice in choices if choice.startswith(begun)]

    return complete


class CommandLine(TyperCommand):
    """Also takes a switch as ``--force true`` or ``--force false``, as ``mlflow run -P force=true`` passes it on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remove the values of switches, and the switches that are false."""
        switches = {name for each in self.params if getattr(each, "is_flag", False) for name in each.opts}
        kept: list[str] = []
        for arg in args:
            if kept and kept[-1].replace("_", "-") in switches and arg.lower() in ("true", "false"):
                kept = kept if arg.lower() == "true" else kept[:-1]
            else:
                kept.append(arg)
        return list(super().parse_args(ctx, kept))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options by panel."""
        for panel, parameters in groupby(self.get_params(ctx), key=_panel):
            with formatter.section(panel):
                formatter.write_dl([each.get_help_record(ctx) for each in parameters])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, one per line."""
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in str(self.epilog).splitlines()))


def _panel(parameter: Any) -> str:
    """Return the heading of a parameter in the help; ``--help`` itself declares none."""
    return parameter.rich_help_panel or (GENERAL if parameter.name == "help" else "Options")


def build(command: Command) -> Any:
    """Return the Typer command, with its options, for a command of the table."""
    shown = _options(command)

    def run(context: typer.Context, config: Configuration | None = None, **values: Any) -> None:
        aside = bool(values.get("as_json") or values.get("form"))
        quiet, verbose = (values.pop(name) or context.obj[name] for name in ("quiet", "verbose"))
        with _exit_code(quiet=quiet, verbose=verbose, aside=aside) as reporter:
            extra = {option.name: values.pop(option.name) for option in command.options}
            given = {name: value for name, value in values.items() if value is not None}
            with _kept(config, given) if config else nullcontext():
                _describe_project_run(command.name, command.run(given, reporter, extra))

    run.__signature__ = inspect.Signature([CONTEXT, *shown])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (CONTEXT, *shown)}
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = {"token_normalize_func": lambda name: name.replace("_", "-"), "max_content_width": 120}
    add = single.command(
        command.name,
        cls=CommandLine,
        help=command.help,
        epilog="\n".join(command.examples),
        context_settings=settings,
    )
    add(run)
    return get_command(single)


@contextmanager
def _kept(config: Configuration, given: Mapping[str, Any]) -> Iterator[None]:
    """Log a configuration file with the run that a command opens."""
    check_declared(config, given)
    from pipeline.tracking import lifecycle, schema

    with lifecycle.attached(schema.CONFIGURATION, config.text):
        yield


def _describe_project_run(name: str, returned: Any) -> None:
    """Describe the run that ``mlflow run`` opened, if the command's results are in another one, or in files."""
    project, run = os.environ.get(MLFLOW_RUN_ID), getattr(returned, "version", returned)
    parent = run if isinstance(run, str) else getattr(run, "run_id", None)
    if project and parent != project:
        from pipeline.tracking import lifecycle

        lifecycle.describe_stage_run(project, name, parent)


@contextmanager
def _exit_code(*, quiet: bool, verbose: bool, aside: bool) -> Iterator[TerminalReporter]:
    """Turn an error that the user can fix, or an interruption, into a message and an exit code."""
    quieten(verbose=verbose)
    relax_garbage_collection()
    try:
        with interruptible(), TerminalReporter(quiet=quiet, aside=aside) as reporter:
            if quiet and verbose:
                raise UsageError("quiet, verbose: expected one of the two, received both.")
            yield reporter
    except Exception as error:
        failure = error if isinstance(error, PipelineError) else of_library(error)
        if failure is None:
            raise
        print_error(str(failure), trace=error if verbose else None)
        raise typer.Exit(failure.exit_code) from None
    except KeyboardInterrupt:
        print_error("Stopped. If an MLflow run was open, it is marked KILLED.")
        raise typer.Exit(INTERRUPTED) from None


def explained(error: Any) -> str:
    """Return a paragraph that says what is wrong with a command line and how to show its help."""
    context, message = getattr(error, "ctx", None), _sentence(error)
    message += "" if message.endswith((".", "?")) else "."
    return f"{message} See `{context.command_path} --help`." if context else message


def _sentence(error: Any) -> str:
    """Return what is wrong; a parameter has the same name whether it was given as ``--name`` or ``-P name``."""
    if parameter := getattr(error, "param", None):
        problem = re.sub("Input should be ", "expected ", error.message)
        if choice := re.search(r"'(.*)' is not one of (.*?)\.?$", problem):
            near = suggestion(choice[1], re.findall(r"'(\w+)'", choice[2]))
            problem = f"expected one of {choice[2]}, received '{choice[1]}'.{near}"
        return f"{name_of(parameter)}: {problem or 'expected a value, received none'}"
    if hasattr(error, "possibilities"):
        known = [_name(option) for each in error.ctx.command.params for option in each.opts]
        name = _name(error.option_name)
        return f"{name}: there is no parameter of this name.{suggestion(name, known)}"
    return str(error.format_message())


def _name(option: str) -> str:
    return option.lstrip("-").replace("-", "_") if MLFLOW_RUN_ID in os.environ else option
