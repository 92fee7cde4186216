"""The Python interface: the commands as functions with keyword arguments, and their results as pandas tables.

    from pipeline import compare, load, run

    first_run = run(dataset="digits", cell="gru", epochs=5)
    first_run.history                                             # a row per epoch
    compare(dataset="digits", cells=["rnn", "gru"], seeds=range(1, 4)).summary
    load("models:/mnist-gru@champion").probabilities(images)      # (N, C) for images (N, H, W)

Parameters have the same defaults as on the command line; the errors are in :mod:`pipeline.errors`.
Nothing expensive is imported before a function is called. The content of a run is read when an attribute of a result is
first used.
"""

import inspect
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.terminal import TerminalReporter
from pipeline.commands import COMMANDS, REQUIRED, Option
from pipeline.errors import of_library
from pipeline.progress import Reporter
from pipeline.startup import quieten
from pipeline.tracking import schema

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.splits import DataSet
    from pipeline.tracking.models import Classifier
    from pipeline.tracking.promotion import Promotion
    from pipeline.tracking.schema import TrackedRun

OF_A_TERMINAL = ("as_json", "form", "dry_run")
"""Options of the command line that the functions do not take."""


# --- results --------------------------------------------------------------------------------------------------------


def _run(run_id: str) -> "TrackedRun":
    from pipeline.tracking import store

    return store.get_run(run_id)


def _table(path: str) -> "cached_property[pd.DataFrame]":
    """Return an attribute that reads the table at ``path`` of a run, or of a folder with a report."""

    def read(result: Any) -> "pd.DataFrame":
        import pandas as pd

        from pipeline.tracking import store

        if result.run_id is None:
            return pd.read_csv(result.folder / Path(path).name)
        return store.load_table(result.run_id, path)

    return cached_property(read)


@dataclass(frozen=True)
class RunResult:
    """One run: accuracies are fractions, costs nats, times seconds.

    Attributes:
        run_id: ID of the MLflow run.
        history: a row per epoch.
        predictions: a row per test image: label, answer, all probabilities.
        per_class: a row per class: precision, recall, F1, number of test images.
    """

    run_id: str

    history = _table(schema.HISTORY)
    predictions = _table(schema.PREDICTIONS)
    per_class = _table(schema.PER_CLASS)

    @cached_property
    def params(self) -> Mapping[str, str]:
        """Every parameter, as text, by name."""
        return _run(self.run_id).params

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """The last value of each metric, by name."""
        return _run(self.run_id).metrics

    @cached_property
    def model(self) -> "Classifier":
        """The model, loaded as it is served."""
        from pipeline.tracking import models

        return models.load(f"runs:/{self.run_id}/{schema.MODEL}")


@dataclass(frozen=True)
class Comparison:
    """A comparison of finished runs: accuracies are fractions, costs nats, times seconds.

    Attributes:
        run_id: ID of the MLflow run with the report; None if ``report`` wrote it to a folder.
        folder: this folder.
        runs: a row per run.
        summary: a row per configuration: means and standard deviations over its seeds.
        pairwise_tests: a row per pair of configurations: the difference, its interval, whether it is significant.
    """

    run_id: str | None
    folder: Path = Path()

    runs = _table(f"{schema.COMPARISON_FOLDER}/runs.csv")
    summary = _table(f"{schema.COMPARISON_FOLDER}/summary.csv")
    pairwise_tests = _table(f"{schema.COMPARISON_FOLDER}/pairwise_tests.csv")


@dataclass(frozen=True)
class Search:
    """A search for better parameters.

    Attributes:
        run_id: ID of the MLflow run with the report.
        trials: a row per trial: its parameters and its results; accuracies are fractions.
    """

    run_id: str

    trials = _table(f"{schema.SEARCH_FOLDER}/trials.csv")

    @cached_property
    def best(self) -> RunResult:
        """The best trial."""
        return RunResult(_run(self.run_id).tags[schema.BEST_RUN])


def _listed(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return a table of the latest runs, with a column for each parameter in which they differ."""
    import pandas as pd

    return pd.DataFrame([{**row, **row["parameters"]} for row in rows]).drop(columns="parameters", errors="ignore")


# --- functions ------------------------------------------------------------------------------------------------------


def _function(name: str, result: Callable[[Any], Any] = lambda returned: returned) -> Callable[..., Any]:
    """Return the function for a command: its options and parameters are arguments, and its docstring lists them.

    Args:
        name: the command.
        result: converts the result of its stage.
    """
    command = COMMANDS[name]
    options = [each for each in command.options if each.name not in OF_A_TERMINAL]
    own = [_argument(each) for each in options]

    def call(*arguments: Any, **named: Any) -> Any:
        others = [inspect.Parameter("others", inspect.Parameter.VAR_KEYWORD)] if command.takes else []
        bound = inspect.Signature([*own, *others]).bind(*arguments, **named).arguments
        given = {parameter: _as_typed(value) for parameter, value in bound.pop("others", {}).items()}
        with _prepared(), TerminalReporter() as reporter:
            return result(command.run(given, reporter, bound))

    lines = [f"    {each.name}: {each.text}" for each in (*options, *command.parameters)]
    call.__name__, call.__doc__ = name, "\n".join([command.help, "", "Args:", *lines])
    call.__signature__ = inspect.Signature([*own, *map(_argument, command.parameters)])  # type: ignore[attr-defined]
    return call


def _argument(option: Option) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if option.positional else inspect.Parameter.KEYWORD_ONLY
    default = inspect.Parameter.empty if option.default is REQUIRED else option.default
    return inspect.Parameter(option.name, kind, default=default)


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


run: Callable[..., RunResult] = _function("run", RunResult)
train: Callable[..., RunResult] = _function("train", RunResult)
compare: Callable[..., Comparison] = _function("compare", Comparison)
search: Callable[..., Search] = _function("search", Search)
report: Callable[..., Comparison] = _function("report", lambda folder: Comparison(None, folder))
runs: Callable[..., "pd.DataFrame"] = _function("runs", _listed)
download: Callable[..., Path] = _function("download", attrgetter("folder"))
preprocess: Callable[..., "DataSet"] = _function("preprocess")
evaluate: Callable[..., RunResult] = _function("evaluate", RunResult)
promote: Callable[..., "Promotion"] = _function("promote")


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
    columns: str | None = None,
    trust: bool = False,
) -> "pd.DataFrame":
    """Return a row for each example: label, probability and runner-up.

    Args:
        paths: files of images or sequences, or folders of them.
        model: URI of the model.
        by_step: return a row after each time step, with the probabilities of all classes.
        column: Parquet column that holds the pixels, if several columns could.
        columns: columns of a table of sequences, if named differently: ``id=…,time=…,label=…``.
        trust: run the model's code even if this pipeline did not create it.

    Raises:
        DataError: a file could not be read, or a folder contains none.
        TrackingError: there is no such model.
        UsageError: no path is given, or the model's code is not from this pipeline, and is not trusted.
    """
    listed = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    with _prepared(), tempfile.TemporaryDirectory() as folder:
        import pandas as pd

        file = f"{folder}/answers.parquet"
        given = {"paths": listed, "model": model, "output": file, "by_step": by_step, "trust": trust}
        COMMANDS["predict"].run({}, Reporter(), given | {"column": column, "columns": columns})
        return pd.read_parquet(file)
