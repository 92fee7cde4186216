"""A command of the table in Typer: options, configuration file, help and reporter.

Typer passes on text; the settings and the table check and convert it, so that a value gets the same message from the
command line, from a file, from ``mlflow run -P`` and from Python.

A configuration file, ``--config experiment.yaml``, has lines such as ``epochs: 10``. A value is read like a typed one,
and a list like typed values separated by commas. Options on the command line override the file.
"""

import inspect
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from pipeline.cli.terminal import TerminalReporter, print_error
from pipeline.commands import REQUIRED, Command, Option
from pipeline.errors import UsageError, reason, suggestion
from pipeline.settings import MLFLOW_RUN_ID, expanded
from pipeline.startup import interruptible, quieten, relax_garbage_collection

GENERAL = "General"
QUIET = Option("quiet", bool, "Show only results and errors.", False, panel=GENERAL)
VERBOSE = Option(
    "verbose", bool, "Also show messages of TensorFlow and MLflow, and tracebacks of errors.", False, panel=GENERAL
)
CONFIG = Option(
    "config",
    str | None,
    "YAML file with values of these options; options on the command line take precedence. MLflow keeps a copy.",
    panel=GENERAL,
    metavar="<file>",
)

DECLARED = frozenset({"cell", "cells", "seed", "seeds"})
"""The settings that MLproject declares: ``mlflow run`` passes them on whether they were typed or not."""

CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY, annotation=typer.Context)


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
            values[known[word].name] = value is True or (parts if list in known[word].kinds else ",".join(parts))
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


def _parameter(option: Option) -> inspect.Parameter:
    """Return an option as a parameter for Typer, whose value is text, texts, or a switch."""

    def complete(incomplete: str) -> list[str]:  # the last of several choices, separated by commas
        done = incomplete[: incomplete.rfind(",") + 1]
        return [done + choice for choice in option.choices if choice.startswith(incomplete.removeprefix(done))]

    has_default = option.default not in (None, False, REQUIRED)
    default = " Required." if option.default is REQUIRED else f" Default: {option.default}." if has_default else ""
    kind: Any = bool if option.type is bool else list[str] | None if list in option.kinds else str | None
    declared: Any = typer.Option(
        f"--{option.word.replace('_', '-')}",
        metavar=option.placeholder if kind is not bool else None,
        help=option.help + default,
        show_default=False,
        autocompletion=complete if option.choices else None,
        rich_help_panel=option.panel,
    )
    if list in option.kinds and option.default is REQUIRED:
        declared = typer.Argument(metavar=option.word.upper(), help=option.help, rich_help_panel=option.panel)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if kind is bool else None,
        annotation=Annotated[kind, declared],
    )


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
        panels = groupby(self.get_params(ctx), key=lambda each: getattr(each, "rich_help_panel", None) or GENERAL)
        for panel, parameters in panels:
            with formatter.section(panel):
                formatter.write_dl([(_shown(each), getattr(each, "help", "")) for each in parameters])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, one per line."""
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in str(self.epilog).splitlines()))


def _shown(parameter: Any) -> str:
    """Return an option with its placeholder, or the name of an argument."""
    words = [name for name in parameter.opts[:1] if name.startswith("-")]
    return " ".join([*words, *filter(None, [parameter.metavar])])


def build(command: Command) -> Any:
    """Return the Typer command, with its options, for a command of the table."""
    options = [*command.options, *command.parameters, *([CONFIG] if command.takes else []), QUIET, VERBOSE]
    parameters = [CONTEXT, *map(_parameter, options)]

    def run(context: typer.Context, **values: Any) -> None:
        typed = {name: value for name, value in values.items() if value not in (None, False, [])}
        text, file = read(typed.pop(CONFIG.name), options) if CONFIG.name in typed else ("", {})
        check_declared(file, typed)
        given = file | typed
        quiet, verbose = (given.pop(name, False) or context.obj[name] for name in ("quiet", "verbose"))
        chosen = {option.name: given.pop(option.name) for option in command.options if option.name in given}
        aside = bool(chosen.keys() & {"as_json", "form"})
        with _reporter(quiet=quiet, verbose=verbose, aside=aside) as reporter, _kept(text):
            _describe_project_run(command.name, command.run(given, reporter, chosen))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(
        command.name,
        cls=CommandLine,
        help=command.help,
        epilog="\n".join(command.examples),
        context_settings={"token_normalize_func": lambda name: name.replace("_", "-"), "max_content_width": 120},
    )(run)
    return get_command(single)


def _kept(text: str) -> AbstractContextManager[object]:
    """Return a context in which the run that a command opens gets a copy of its configuration file, if there is one."""
    if not text:
        return nullcontext()
    from pipeline.tracking import lifecycle

    return lifecycle.attached("configuration.yaml", text)


def _describe_project_run(name: str, returned: Any) -> None:
    """Describe the run that ``mlflow run`` opened, if the command's results are in another one, or in files."""
    project, run = os.environ.get(MLFLOW_RUN_ID), getattr(returned, "version", returned)
    parent = run if isinstance(run, str) else getattr(run, "run_id", None)
    if project and parent != project:
        from pipeline.tracking import lifecycle

        lifecycle.describe_stage_run(project, name, parent)


@contextmanager
def _reporter(*, quiet: bool, verbose: bool, aside: bool) -> Iterator[TerminalReporter]:
    """Yield the reporter of a command, which a signal interrupts; with ``verbose`` show where an error was."""
    quieten(verbose=verbose)
    relax_garbage_collection()
    if quiet and verbose:
        raise UsageError("quiet, verbose: only one of the two can be given; got both.")
    try:
        with interruptible(), TerminalReporter(quiet=quiet, aside=aside) as reporter:
            yield reporter
    except Exception:
        if verbose:
            traceback.print_exc()
        raise
    except KeyboardInterrupt:
        print_error("Stopped. If an MLflow run was open, it is marked KILLED.")
        raise
