"""The command line: ``pipeline <command> --name value``, made from the table of commands.

Typer passes on text; the settings and the table check and convert it, so that a value gets the same message from the
command line, from a file, from ``mlflow run -P`` and from Python.

A configuration file, ``--config experiment.yaml``, has lines such as ``epochs: 10``. A value is read like a typed one,
and a list like typed values separated by commas. Options on the command line override the file.
"""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from pipeline import __version__
from pipeline.commands import COMMANDS, REQUIRED, Command, Option
from pipeline.errors import PipelineError, UsageError, of_library, reason, suggestion
from pipeline.settings import MLFLOW_RUN_ID, expanded
from pipeline.startup import interruptible, is_verbose, open_standard_streams, quieten, relax_garbage_collection

GENERAL = "General"
CONFIG = Option(
    "config",
    Path,
    "YAML file with values of these options; options on the command line take precedence. MLflow keeps a copy.",
    panel=GENERAL,
)
QUIET = Option("quiet", bool, "Show only results and errors.", False, panel=GENERAL)
VERBOSE = Option(
    "verbose", bool, "Also show messages of TensorFlow and MLflow, and tracebacks of errors.", False, panel=GENERAL
)

INTERRUPTED = 130
"""Typer's exit code after a KeyboardInterrupt."""

DECLARED = frozenset({"cell", "cells", "seed", "seeds"})
"""The settings that MLproject declares: ``mlflow run`` passes them on whether they were typed or not."""


# --- Typer ----------------------------------------------------------------------------------------------------------


class CommandGroup(TyperGroup):
    """Explains errors in one paragraph."""

    def main(self, *args: Any, **named: Any) -> Any:
        """Run the command line, and end the process with its exit code."""
        try:
            code = super().main(*args, **named | {"standalone_mode": False})
            said = "Stopped. If an MLflow run was open, it is marked KILLED." if code == INTERRUPTED else ""
        except Exception as error:
            if is_verbose():
                traceback.print_exc()
            failure = _failure(error)
            if failure is None:
                raise
            code, said = failure.exit_code, str(failure)
        if said:
            from pipeline.cli.terminal import print_error

            print_error(said)
        sys.exit(code)


def _failure(error: Exception) -> PipelineError | None:
    """Return the error that the user sees; None if it is a bug."""
    if isinstance(error, PipelineError):
        return error
    if not isinstance(error, TyperException):
        return of_library(error)
    message, context = error.format_message(), getattr(error, "ctx", None)
    message += "" if message.endswith((".", "?")) else "."
    return UsageError(f"{message} See `{context.command_path} --help`." if context else message)


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
        shown: list[Any] = self.get_params(ctx)
        for panel, group in groupby(shown, lambda each: getattr(each, "rich_help_panel", "") or GENERAL):
            # Typer's own record of an argument names a type of Python.
            rows = [
                (each.metavar, each.help) if each.param_type_name == "argument" else each.get_help_record(ctx)
                for each in group
            ]
            with formatter.section(panel):
                formatter.write_dl(rows)


def _parameter(option: Option) -> inspect.Parameter:
    """Return an option as a parameter for Typer, whose value is text, texts, or a switch."""

    def complete(incomplete: str) -> list[str]:  # the last of several choices, separated by commas
        done = incomplete[: incomplete.rfind(",") + 1]
        return [done + choice for choice in option.choices if choice.startswith(incomplete.removeprefix(done))]

    kind: Any = bool if option.type is bool else list[str] | None if option.is_list else str | None
    declared: Any = typer.Option(
        f"--{option.word.replace('_', '-')}",
        metavar=None if kind is bool else option.placeholder,
        help=option.text,
        show_default=False,
        autocompletion=complete if option.choices else None,
        rich_help_panel=option.panel,
    )
    if option.is_list and option.default is REQUIRED:
        declared = typer.Argument(metavar=option.word.upper(), help=option.text, rich_help_panel=option.panel)
    default = False if kind is bool else None
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )


# --- a configuration file -------------------------------------------------------------------------------------------


def read(path: str, options: Sequence[Option]) -> tuple[str, dict[str, Any]]:
    """Return the text of a configuration file, and its values as they would be typed, by the name of the option.

    Raises:
        UsageError: it cannot be read, is not a YAML file with a value per name, or has an unknown name.
    """
    import yaml

    try:
        text = expanded(Path(path)).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"config: {path} cannot be read as a YAML file: {problem}.") from None
    if not isinstance(content, dict):
        raise UsageError(f"config: {path} must have lines such as `epochs: 10`; it has {str(content)[:100]!r}.")
    known = {option.word: option for option in options if option is not CONFIG}
    values: dict[str, Any] = {}
    for key, value in content.items():
        word = "on" if key is True else str(key).replace("-", "_")  # YAML 1.1 reads on as true
        if word not in known:
            hint = suggestion(word, known) or f" The parameters are {', '.join(sorted(known))}."
            raise UsageError(f"config: there is no parameter {word} in this command.{hint}")
        if value is not None and value is not False:
            parts = list(map(str, value if isinstance(value, list) else [value]))
            values[known[word].name] = value is True or (parts if known[word].is_list else ",".join(parts))
    return text, values


def check_declared(file: Mapping[str, object], typed: Mapping[str, object]) -> None:
    """Check that the defaults that ``mlflow run`` passes on equal the file's: MLflow has logged them irrevocably.

    Raises:
        UsageError: the file has another value.
    """
    for name in sorted(DECLARED & file.keys() & typed.keys()) if MLFLOW_RUN_ID in os.environ else ():
        if typed[name] != file[name]:
            raise UsageError(
                f"{name}: is {file[name]} in the configuration file, but `mlflow run` passes on its default, "
                f"{typed[name]}. Add -P {name}={file[name]}."
            )


# --- commands -------------------------------------------------------------------------------------------------------


def _function(command: Command) -> Callable[..., None]:
    """Return the function that Typer calls for a command of the table."""
    options = [*command.options, *command.parameters, *([CONFIG] if command.takes else []), QUIET, VERBOSE]
    parameters = [_parameter(option) for option in options]

    def run(**values: Any) -> None:
        from pipeline.cli.terminal import TerminalReporter

        typed = {name: value for name, value in values.items() if value not in (None, False, [])}
        text, file = read(typed.pop(CONFIG.name), options) if CONFIG.name in typed else ("", {})
        check_declared(file, typed)
        given = file | typed
        quiet, verbose = (given.pop(option.name, False) for option in (QUIET, VERBOSE))
        chosen = {option.name: given.pop(option.name) for option in command.options if option.name in given}
        aside = bool(chosen.keys() & {"as_json", "form"})
        quieten(verbose=verbose)
        relax_garbage_collection()
        with interruptible(), TerminalReporter(quiet=quiet, aside=aside) as reporter, _kept(text):
            returned = command.run(given, reporter, chosen)
            parent = returned if isinstance(returned, str) else chosen.get("run_id") or chosen.get("parent")
            project = os.environ.get(MLFLOW_RUN_ID)
            if project and project != parent:  # the run that `mlflow run` opened has no results
                from pipeline.tracking import lifecycle

                lifecycle.describe_stage_run(project, command.name, parent)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _kept(text: str) -> AbstractContextManager[object]:
    """Return a context in which the run that a command opens gets a copy of its configuration file, if there is one."""
    if not text:
        return nullcontext()
    from pipeline.tracking import lifecycle

    return lifecycle.attached("configuration.yaml", text)


app = typer.Typer(
    cls=CommandGroup,
    help="Train, compare and serve RNNs, LSTMs and GRUs on images or sequences.",
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-"), "max_content_width": 120},
    rich_markup_mode=None,  # importing and drawing its boxes takes longer than the rest of --help
    pretty_exceptions_enable=False,
)
for command in COMMANDS.values():
    examples = "\n".join(["\b", "Examples:", *(f"  {example}" for example in command.examples)])
    app.command(command.name, cls=CommandLine, help=command.help, epilog=examples)(_function(command))


@app.callback(invoke_without_command=True)
def top(context: typer.Context, version: Annotated[bool, typer.Option("--version")] = False) -> None:
    """Show the version, or the help if no command is given."""
    if version or not context.invoked_subcommand:
        typer.echo(__version__ if version else context.get_help())
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    open_standard_streams()
    app(prog_name="pipeline")
