"""A command of the table as Typer runs it: its options, help, reporter and exit code."""

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from pipeline.cli import configuration, options
from pipeline.cli.configuration import Configuration
from pipeline.cli.terminal import TerminalReporter, print_error
from pipeline.commands import Command
from pipeline.errors import PipelineError, UsageError, of_library, suggestion
from pipeline.settings import MLFLOW_RUN_ID
from pipeline.startup import interruptible, quieten, relax_garbage_collection

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY, annotation=typer.Context)


class CommandLine(TyperCommand):
    """Takes a switch as ``--force true`` or ``--force false``, too, as ``mlflow run -P force=true`` passes it on."""

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
        """Write the options, by their panels."""
        for panel, parameters in groupby(self.get_params(ctx), key=_panel):
            with formatter.section(panel):
                formatter.write_dl([each.get_help_record(ctx) for each in parameters])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, a line each."""
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in str(self.epilog).splitlines()))


def _panel(parameter: Any) -> str:
    """Return the heading that a parameter stands under in the help; ``--help`` itself has none of its own."""
    return parameter.rich_help_panel or (options.GENERAL if parameter.name == "help" else "Options")


def build(command: Command) -> Any:
    """Return a command of the table with its options, as Typer runs it."""
    shown, own = options.of_command(command), [option.name for option in command.options]

    def run(context: typer.Context, config: Configuration | None = None, **values: Any) -> None:
        aside = bool(values.get("as_json") or values.get("form"))
        quiet, verbose = (values.pop(name) or context.obj[name] for name in ("quiet", "verbose"))
        with _exit_code(quiet=quiet, verbose=verbose, aside=aside) as reporter:
            extra = {name: values.pop(name) for name in own}
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
    """Keep a file of parameters with the run that a command opens."""
    configuration.check_declared(config, given)
    from pipeline.tracking import lifecycle, schema

    with lifecycle.attached(schema.CONFIGURATION, config.text):
        yield


def _describe_project_run(name: str, returned: Any) -> None:
    """Describe the run that ``mlflow run`` has opened, if the results of a command are not in it."""
    project, run = os.environ.get(MLFLOW_RUN_ID), getattr(returned, "version", returned)
    parent = run if isinstance(run, str) else getattr(run, "run_id", None)
    if project and parent != project:
        from pipeline.tracking import lifecycle

        lifecycle.describe_stage_run(project, name, parent)


@contextmanager
def _exit_code(*, quiet: bool, verbose: bool, aside: bool) -> Iterator[TerminalReporter]:
    """Turn an error that the user can fix, and an interruption, into a message and an exit code."""
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
        print_error("Stopped. The MLflow run, where one was open, is marked KILLED.")
        raise typer.Exit(INTERRUPTED) from None


def explained(error: Any) -> str:
    """Return a paragraph on what is wrong with a command line, and where its help is."""
    context, message = getattr(error, "ctx", None), _sentence(error)
    message += "" if message.endswith((".", "?")) else "."
    return f"{message} See `{context.command_path} --help`." if context else message


def _sentence(error: Any) -> str:
    """Return what is wrong; a parameter goes by its name, whether it came as ``--name`` or as ``-P name``."""
    if parameter := getattr(error, "param", None):
        problem = re.sub("Input should be ", "expected ", error.message)
        if choice := re.search(r"'(.*)' is not one of (.*?)\.?$", problem):
            near = suggestion(choice[1], re.findall(r"'(\w+)'", choice[2]))
            problem = f"expected one of {choice[2]}, received '{choice[1]}'.{near}"
        return f"{configuration.name_of(parameter)}: {problem or 'expected a value, received none'}"
    if hasattr(error, "possibilities"):
        known = [_name(option) for each in error.ctx.command.params for option in each.opts]
        name = _name(error.option_name)
        return f"{name}: there is no parameter of this name.{suggestion(name, known)}"
    return str(error.format_message())


def _name(option: str) -> str:
    return option.lstrip("-").replace("-", "_") if MLFLOW_RUN_ID in os.environ else option
