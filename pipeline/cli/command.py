"""A stage to a command: its options, its help, its reporter, its exit code."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import typer

from pipeline import recipes
from pipeline.cli import configuration, options
from pipeline.cli.configuration import Configuration
from pipeline.cli.group import Command
from pipeline.cli.terminal import TerminalReporter, print_error
from pipeline.errors import PipelineError, UsageError, of_library
from pipeline.execution.grid import grid
from pipeline.settings import DataSettings, Settings
from pipeline.startup import hasten, interruptible, quieten

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

Stage = Callable[..., None]


def add(
    app: typer.Typer,
    panel: str,
    *examples: str,
    settings: type[DataSettings] | None = None,
    lists: bool = False,
    checked: bool = True,
) -> Callable[[Stage], Stage]:
    """Make a stage a command.

    The stage is called with the settings, if any, a reporter, and the parameters of its own, which become options. With
    ``as_json`` or ``form`` given, only results go to standard output.

    Args:
        app: that gets the command.
        panel: of the help, that it stands in.
        examples: of what to type.
        settings: the class whose fields are options, too.
        lists: those take several values; the stage gets the settings of all combinations.
        checked: without, it gets what is given, as it is.
    """

    def register(stage: Stage) -> Stage:
        own = list(inspect.signature(stage).parameters.values())[2 if settings else 1 :]

        @functools.wraps(stage)
        def run(*, quiet: bool, verbose: bool, config: Configuration | None = None, **values: Any) -> None:
            aside = bool(values.get("as_json") or values.get("form"))
            with _outcome_as_exit_code(quiet=quiet, verbose=verbose, aside=aside) as reporter:
                extra, given = _parted(values, own)
                known = [_checked(settings, given, lists=lists) if checked else given] if settings else []
                with _kept(config, given) if config and settings is Settings else nullcontext():
                    stage(*known, reporter, **extra)

        shown = own + _options(settings, lists=lists)
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in shown}
        return app.command(cls=Command, rich_help_panel=panel, epilog=_examples(examples))(run)

    return register


def _parted(values: Mapping[str, Any], own: Sequence[inspect.Parameter]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of a stage's own parameters, and those of the settings that are given."""
    extra = {each.name: values[each.name] for each in own}
    return extra, {name: value for name, value in values.items() if name not in extra and value is not None}


def _options(settings: type[DataSettings] | None, *, lists: bool) -> list[inspect.Parameter]:
    return (options.of_settings(settings, lists=lists) if settings else []) + options.of_output()


def _examples(lines: Sequence[str]) -> str:
    return "\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])


def _checked(settings: type[DataSettings] | None, given: Mapping[str, Any], *, lists: bool) -> Any:
    if lists:
        return grid(given)
    return recipes.resolve(given) if settings is Settings else (settings or DataSettings).of(given)


@contextmanager
def _kept(config: Configuration, given: Mapping[str, Any]) -> Iterator[None]:
    """Let a file of parameters be kept with the run that a stage opens."""
    configuration.check_declared(config, given)
    from pipeline.tracking import lifecycle, schema

    with lifecycle.attached(schema.CONFIGURATION, config.text):
        yield


@contextmanager
def _outcome_as_exit_code(*, quiet: bool, verbose: bool, aside: bool) -> Iterator[TerminalReporter]:
    """Turn a failure that a user can mend, and what asks to stop, into a message and an exit code."""
    quieten(verbose=verbose)
    hasten()
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
