"""The command line: ``pipeline <command> --name value``, made from the table of commands."""

import sys
from itertools import groupby
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from pipeline import __version__
from pipeline.commands import COMMANDS
from pipeline.errors import PipelineError, UsageError, of_library, suggestion
from pipeline.startup import open_standard_streams


class Group(TyperGroup):
    """Builds a command on first use, and explains errors as the commands do."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None if there is no command of this name."""
        from pipeline.cli import command

        return command.build(COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def main(self, *args: Any, **named: Any) -> Any:
        """Run the command line, and end the process with its exit code; explain an error that the user can fix."""
        try:
            code = super().main(*args, **named | {"standalone_mode": False})
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            from pipeline.cli.terminal import print_error

            print_error(str(failure))
            code = failure.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show the help if nothing is typed."""
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return a command with its name and its arguments."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise UsageError(f"There is no command {args[0]!r}.{suggestion(args[0], COMMANDS)} See `pipeline --help`.")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the purpose of the tool and a line for each command, on one screen."""
        usage = "Usage: pipeline COMMAND [OPTIONS]   (pipeline COMMAND --help lists the options)"
        lines = [str(self.help), usage, ""]
        for panel, commands in groupby(COMMANDS.values(), key=lambda command: command.panel):
            lines += [f"{panel}:", *(f"  {each.name:10}  {each.help.splitlines()[0]}" for each in commands)]
        options = ", ".join(each.opts[0] for each in self.get_params(ctx) if each.name != "show_completion")
        formatter.write("\n".join([*lines, "", f"Options: {options}", ""]))


def _failure(error: Exception) -> PipelineError | None:
    """Return the error that the user sees; None if it is a bug."""
    if isinstance(error, PipelineError):
        return error
    if not isinstance(error, TyperException):
        return of_library(error)
    message, context = str(getattr(error, "format_message", str)()), getattr(error, "ctx", None)
    message += "" if message.endswith((".", "?")) else "."
    return UsageError(f"{message} See `{context.command_path} --help`." if context else message)


app = typer.Typer(
    cls=Group,
    help="Train, compare and serve RNNs, LSTMs and GRUs on images or sequences.",
    rich_markup_mode=None,  # importing and drawing its boxes takes longer than the rest of --help
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    open_standard_streams()
    app(prog_name="pipeline")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
    verbose: Annotated[bool, typer.Option("--verbose")] = False,
) -> None:
    """Take the options that may precede a command."""
    context.obj = {"quiet": quiet, "verbose": verbose}
