"""Typer's commands as they are here: errors as one paragraph, switches that take a value, options before a command."""

import functools
import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, TyperException

from pipeline.cli.terminal import print_error
from pipeline.errors import PipelineError, UsageError

EVERYWHERE = ("--quiet", "--verbose")
"""The switches of every command; they may stand before it, too."""


class Command(TyperCommand):
    """Takes a switch as ``--force true`` or ``--force false``, too: so ``mlflow run -P force=true`` hands it on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave the values of switches out, and the switches that are false."""
        switches = {name for parameter in _switches(self.params) for name in parameter.opts}
        kept: list[str] = []
        for arg in args:
            if kept and kept[-1].replace("_", "-") in switches and arg.lower() in ("true", "false"):
                kept = kept if arg.lower() == "true" else kept[:-1]
            else:
                kept.append(arg)
        return list(super().parse_args(ctx, kept))

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options; help shows a switch without a type."""
        return _shown_as_switches(super().get_params(ctx))


class Group(TyperGroup):
    """Says what is wrong with a command line as the commands say what is wrong with a parameter."""

    def main(  # Typer's own signature
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, and end the process with its exit code."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except (TyperException, PipelineError) as error:
            if message := _explained(error):
                print_error(message)
            sys.exit(error.exit_code if isinstance(error, PipelineError) else UsageError.exit_code)
        except Abort:
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let what stands before the command, and goes for every command, stand behind it."""
        leading = list(takewhile(lambda arg: arg.startswith("-"), args))
        moved = [arg for arg in leading if arg in EVERYWHERE]
        command = args[len(leading) : len(leading) + 1]
        kept = [arg for arg in leading if arg not in EVERYWHERE]
        return list(super().parse_args(ctx, [*kept, *command, *(moved if command else []), *args[len(leading) + 1 :]]))

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options; help shows a switch without a type."""
        return _shown_as_switches(super().get_params(ctx))


def _switches(parameters: Sequence[Any]) -> list[Any]:
    return [parameter for parameter in parameters if getattr(parameter, "is_flag", False)]


def _shown_as_switches(parameters: list[Any]) -> list[Any]:
    for parameter in _switches(parameters):
        parameter.metavar = ""
    return parameters


def _explained(error: TyperException | PipelineError) -> str:
    """Return a paragraph on what is wrong with a command line, and where its help is; nothing if that is shown."""
    if isinstance(error, PipelineError):
        return str(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""
    context = getattr(error, "ctx", None)
    message = _sentence(error)
    message += "" if message.endswith((".", "?")) else "."
    return f"{message} See `{context.command_path} --help`." if context else message


def _sentence(error: TyperException) -> str:
    """Return what is wrong; a parameter goes by its name, whether it came as ``--name`` or as ``-P name``."""
    if parameter := getattr(error, "param", None):
        problem = error.message.replace("Input should be ", "expected ", 1)
        return f"{parameter.name}: {problem or 'expected a value, received none'}"
    if hasattr(error, "possibilities"):
        names = [_name(option) for option in error.possibilities or ()]
        hint = f" Did you mean {' or '.join(names)}?" if names else ""
        return f"{_name(str(getattr(error, 'option_name', '')))}: there is no parameter of this name.{hint}"
    return error.format_message()


def _name(option: str) -> str:
    return option.lstrip("-").replace("-", "_") if os.environ.get("MLFLOW_RUN_ID") else option
