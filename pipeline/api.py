"""The Python interface: the commands as functions with keyword arguments and pandas tables as results.

    from pipeline import compare, load, run

    first_run = run(dataset="digits", cell="gru", epochs=5)
    first_run.history                                             # a row per epoch
    compare(dataset="digits", cells=["rnn", "gru"], seeds=range(1, 4)).summary
    load("models:/mnist-gru@champion").probabilities(images)      # (N, C) for images (N, H, W)

Parameters have the same defaults as on the command line; the errors are in :mod:`pipeline.errors`.
Nothing expensive is imported before a function is called.
"""

import inspect
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import terminal
from pipeline.commands import COMMANDS, REQUIRED, Command, Option
from pipeline.errors import UsageError, of_library
from pipeline.progress import Reporter
from pipeline.results import Comparison, RunResult, Search
from pipeline.settings import Settings
from pipeline.startup import quieten

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.splits import DataSet
    from pipeline.tracking.models import Classifier
    from pipeline.tracking.promotion import Promotion

OF_A_TERMINAL = ("as_json", "form", "dry_run")
"""Options of the command line that the functions do not take."""


def _function(command: Command) -> Callable[..., Any]:
    """Return the function for a command: its options and parameters are arguments, and its docstring lists them."""
    options = [each for each in command.options if each.name not in OF_A_TERMINAL]
    own = [_argument(each) for each in options]
    others = [inspect.Parameter("others", inspect.Parameter.VAR_KEYWORD)] if command.takes else []

    def call(*arguments: Any, **named: Any) -> Any:
        bound = inspect.Signature([*own, *others]).bind(*arguments, **named).arguments
        given = {name: _as_typed(value) for name, value in bound.pop("others", {}).items()}
        with _prepared(), terminal.reporter() as reporter:
            _check_no_run_is_active(command)
            return command.result(command.run(given, reporter, bound))

    lines = [f"    {each.name}: {each.help}" for each in (*options, *command.parameters)]
    call.__name__, call.__doc__ = command.name, "\n".join([command.help, "", "Args:", *lines])
    call.__signature__ = inspect.Signature([*own, *map(_argument, command.parameters)])  # type: ignore[attr-defined]
    return call


def _argument(option: Option) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if option.positional else inspect.Parameter.KEYWORD_ONLY
    default = inspect.Parameter.empty if option.default is REQUIRED else option.default
    return inspect.Parameter(option.name, kind, default=default, annotation=option.type)


def _as_typed(value: object) -> object:
    """Return a value as the command line takes it: several values become one text, separated by commas."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(map(str, value))
    return value


@contextmanager
def _prepared() -> Iterator[None]:
    """Set the log levels of the libraries, and turn their errors into the pipeline's."""
    quieten()
    try:
        yield
    except Exception as error:
        if failure := of_library(error):
            raise failure from error
        raise


def _check_no_run_is_active(command: Command) -> None:
    if command.takes is None or command.takes.fields is not Settings:
        return
    from pipeline.tracking import lifecycle

    if run_id := lifecycle.active_run():
        raise UsageError(
            f"{command.name} opens its own MLflow run, but run {run_id} is active in this process. End it first: "
            "mlflow.end_run()."
        )


run: Callable[..., RunResult] = _function(COMMANDS["run"])
train: Callable[..., RunResult] = _function(COMMANDS["train"])
compare: Callable[..., Comparison] = _function(COMMANDS["compare"])
search: Callable[..., Search] = _function(COMMANDS["search"])
report: Callable[..., Comparison] = _function(COMMANDS["report"])
runs: Callable[..., "pd.DataFrame"] = _function(COMMANDS["runs"])
download: Callable[..., Path] = _function(COMMANDS["download"])
preprocess: Callable[..., "DataSet"] = _function(COMMANDS["preprocess"])
evaluate: Callable[..., RunResult] = _function(COMMANDS["evaluate"])
promote: Callable[..., "Promotion"] = _function(COMMANDS["promote"])


def load(model: str, *, trust: bool = False) -> "Classifier":
    """Return a model, whose ``probabilities(images)`` takes (N, H, W), 0–255, and returns (N, C).

    The columns are in the order of its ``class_names``.

    Args:
        model: URI of the model, such as ``models:/mnist-gru@champion`` or ``runs:/RUN_ID/model``.
        trust: run the model's code even if this pipeline did not create it.

    Raises:
        TrackingError: there is no such model, or it does not load.
        UsageError: the model's code is not from this pipeline, and is not trusted.
    """
    from pipeline.tracking import models

    with _prepared():
        return models.load(model, trust=trust)


def predict(
    paths: str | Path | Sequence[str | Path],
    model: str,
    *,
    by_step: bool = False,
    column: str | None = None,
    trust: bool = False,
) -> "pd.DataFrame":
    """Return a row for each example: label, probability and runner-up.

    Args:
        paths: pictures, IDX and Parquet files, or folders of them.
        model: URI of the model.
        by_step: return a row after each time step, with the probabilities of all classes.
        column: Parquet column that holds the pixels, if several columns could.
        trust: run the model's code even if this pipeline did not create it.

    Raises:
        DataError: a file could not be read, or a folder contains no images.
        TrackingError: there is no such model.
        UsageError: no path is given, or the model's code is not from this pipeline, and is not trusted.
    """
    listed = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    with _prepared(), tempfile.TemporaryDirectory() as folder:
        import pandas as pd

        file = f"{folder}/answers.parquet"
        given = {"paths": listed, "model": model, "by_step": by_step, "column": column, "trust": trust}
        COMMANDS["predict"].run({}, Reporter(), given | {"output": file})
        return pd.read_parquet(file)
