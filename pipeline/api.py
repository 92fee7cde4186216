"""The pipeline from Python: the commands as functions of keyword arguments, their results as pandas tables.

    from pipeline import compare, load, run

    training = run(dataset="digits", cell="gru", epochs=5)
    training.history                                              # a row per epoch
    compare(dataset="digits", cells=["rnn", "gru"], seeds=range(1, 4)).summary
    load("models:/mnist-gru@champion").probabilities(images)      # (N, C), of images (N, H, W)

A parameter that is not given has the value that it has on the command line; the
errors are those of :mod:`pipeline.errors`. Nothing costly is imported before a
function is called.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pipeline import recipes
from pipeline.cli import notebook
from pipeline.errors import UsageError, of_library
from pipeline.execution.grid import OPTIONS, grid
from pipeline.machine import usable_cores
from pipeline.results import Comparison, Search, Training
from pipeline.settings import DataSettings, Settings
from pipeline.startup import quieten

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.splits import DataSet
    from pipeline.tracking.classifier import Classifier
    from pipeline.tracking.promotion import Promotion

P = ParamSpec("P")
R = TypeVar("R")


# --- how they are called --------------------------------------------------------------------------------------------


def _function(*settings: type[DataSettings], lists: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let the libraries be quiet, errors be the pipeline's, and help show the parameters of the settings."""

    def prepared(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            quieten()
            if Settings in settings:
                _check_no_run_is_active()
            try:
                return function(*arguments, **named)
            except Exception as error:
                if failure := of_library(error):
                    raise failure from error
                raise

        own = [each for each in inspect.signature(function).parameters.values() if each.kind is not each.VAR_KEYWORD]
        names = [
            OPTIONS.get(field.name, field.name) if lists else field.name for each in settings for field in fields(each)
        ]
        more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=...) for name in names]
        call.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        return call

    return prepared


def _check_no_run_is_active() -> None:
    from pipeline.tracking import lifecycle

    if run_id := lifecycle.active_run():
        raise UsageError(
            f"Expected no active MLflow run, as a training opens one, received {run_id}, which is active here. "
            "End it first: mlflow.end_run()."
        )


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the command line has them: of several values a text, parted by commas."""
    several = {name: value for name, value in parameters.items() if isinstance(value, Iterable)}
    joined = {name: ",".join(map(str, value)) for name, value in several.items() if not isinstance(value, str)}
    return dict(parameters) | joined


# --- the commands ---------------------------------------------------------------------------------------------------


@_function(Settings)
def run(
    *, register: str | None = None, resume: str | None = None, new: bool = False, force: bool = False, **parameters: Any
) -> Training:
    """Do all of it: download, preprocess, train, evaluate, in one MLflow run.

    Args:
        register: a name by which the model is registered; champion, if it is better than the present one.
        resume: the id of a run that was cut off, to go on with.
        new: do not go on with a run of the same training that was cut off.
        force: try it even if it cannot fit into the memory.
        parameters: of the training, as ``pipeline run --help`` lists them.

    Raises:
        PipelineError: see :mod:`pipeline.errors`.
    """
    from pipeline.stages.run import run
    from pipeline.training.resuming import Beginning

    beginning = Beginning(resume=resume, new=new, force=force)
    with notebook.reporter() as reporter:
        return Training(run(recipes.resolve(parameters), reporter, beginning=beginning, register=register))


@_function(Settings)
def train(*, resume: str | None = None, new: bool = False, force: bool = False, **parameters: Any) -> Training:
    """Train on data that is prepared, without testing: see :func:`run`."""
    from pipeline.stages.train import train
    from pipeline.training.resuming import Beginning

    beginning = Beginning(resume=resume, new=new, force=force)
    with notebook.reporter() as reporter:
        return Training(train(recipes.resolve(parameters), reporter, beginning=beginning))


@_function(DataSettings)
def download(**parameters: Any) -> Path:
    """Fetch the four IDX files of a data set, verify them, and return their folder."""
    from pipeline.stages.download import download

    with notebook.reporter() as reporter:
        return download(DataSettings.of(parameters), reporter).folder


@_function(DataSettings)
def preprocess(**parameters: Any) -> "DataSet":
    """Split what is downloaded; return the data: ``.train``, ``.validation``, ``.test``, with images and labels."""
    from pipeline.stages.preprocess import preprocess

    with notebook.reporter() as reporter:
        return preprocess(DataSettings.of(parameters), reporter)


@_function(DataSettings)
def evaluate(run_id: str, *, trust: bool = False, **parameters: Any) -> Training:
    """Test the model of a run; the results go onto that run, which is returned.

    Args:
        run_id: the run.
        trust: run the code of a model that is not of this pipeline.
        **parameters: which data, see :class:`pipeline.settings.DataSettings`.
    """
    from pipeline.stages.evaluate import evaluate

    with notebook.reporter() as reporter:
        evaluate(run_id, DataSettings.of(parameters).data_dir, reporter, trust=trust)
    return Training(run_id)


@_function(Settings, lists=True)
def compare(
    *,
    workers: int | None = None,
    register: str | None = None,
    against: str | None = None,
    on: str = "local",
    **parameters: Any,
) -> Comparison:
    """Train all combinations of what is given several values of, side by side, and compare them.

    Args:
        workers: trainings at a time; by default as many as the machine takes.
        register: a name by which the best model is registered; champion, if it is better than the present one.
        on: where they run: local; ray, the cluster at ``RAY_ADDRESS``; or an address such as ``ray://HOST:10001``.
        against: a model, a training or a comparison that the best must not be worse than.
        parameters: of the trainings: a value, a list of values, or a text of them, parted by commas.

    Raises:
        PipelineError: see :mod:`pipeline.errors`.
    """
    from pipeline.stages.compare import compare
    from pipeline.tracking import schema, store

    with notebook.reporter() as reporter:
        run_id = compare(grid(_given(parameters)), reporter, count=workers, register=register, reference=against, on=on)
    files = [f"{schema.COMPARISON_FOLDER}/{name}.csv" for name in ("runs", "summary", "verdicts")]
    return Comparison(run_id, *(store.load_table(run_id, file) for file in files))


@_function(Settings)
def search(
    *,
    ranges: str | Sequence[str] = (),
    trials: int | None = None,
    seconds: int | None = None,
    confirm: int = 3,
    workers: int | None = None,
    on: str = "local",
    register: str | None = None,
    **parameters: Any,
) -> Search:
    """Search for better parameters, and compare the best trial with the start.

    Args:
        ranges: what is searched, such as ``["learning_rate=1e-4..1e-2:log", "hidden_units=64,128"]``.
        trials: how many, at most; by default 30.
        seconds: in which trials may begin.
        confirm: new seeds that the best trial and the start are compared with.
        workers: trainings at a time; by default as many as the machine takes.
        on: where they run, as of :func:`compare`.
        register: a name by which the best model is registered; champion, if it is better than the present one.
        parameters: that all trials share.

    Raises:
        PipelineError: see :mod:`pipeline.errors`.
    """
    from pipeline.stages.search import search
    from pipeline.tracking import schema, store
    from pipeline.tuning import space
    from pipeline.tuning.budget import Budget

    chosen = space.of(_given(parameters), [ranges] if isinstance(ranges, str) else ranges)
    budget = Budget(trials=trials, seconds=seconds, confirm=confirm, workers=workers)
    with notebook.reporter() as reporter:
        run_id = search(chosen, reporter, budget=budget, register=register, on=on)
    best = store.get_run(run_id).tags[schema.BEST_RUN]
    return Search(run_id, Training(best), store.load_table(run_id, f"{schema.SEARCH_FOLDER}/trials.csv"))


@_function(DataSettings)
def report(
    *,
    parent: str | None = None,
    filter: str | None = None,  # noqa: A002 - as the command line has it
    output: str | Path = "report",
    **parameters: Any,
) -> Comparison:
    """Compare finished trainings: those of a comparison, or those that an MLflow filter matches.

    Args:
        parent: the id of the run of a comparison.
        filter: an MLflow filter, in its place.
        output: folder for the page, its tables and figures.
        parameters: ``data_dir``, for the pictures of the page.

    Raises:
        PipelineError: see :mod:`pipeline.errors`.
    """
    from pipeline.comparison import pairwise_tests, tables
    from pipeline.stages.report import report

    data_dir = DataSettings.of(parameters).data_dir
    with notebook.reporter() as reporter:
        groups = report(reporter, parent=parent, filter_string=filter, data_dir=data_dir, output=Path(output))
    of = pairwise_tests.verdicts(groups)
    return Comparison(parent, tables.runs_table(groups), tables.summary_table(groups, of), tables.verdicts_table(of))


@_function()
def runs(limit: int = 20, *, data_dir: str | Path = "data") -> "pd.DataFrame":
    """Return the last trainings: a row each, the newest first."""
    import pandas as pd

    from pipeline.stages import listing
    from pipeline.training.checkpoints import Checkpoints

    found = listing.latest(Checkpoints(DataSettings.of({"data_dir": data_dir}).data_dir), limit)
    return pd.DataFrame(found, columns=[field.name for field in fields(listing.Row)])


@_function()
def promote(run_id: str, name: str | None = None, *, force: bool = False, trust: bool = False) -> "Promotion":
    """Register the model of a run; it is champion if it is better than the present one.

    Args:
        run_id: of a run that has ended its training.
        name: of the registered model; by default ``<dataset>-<cell>``.
        force: also if it is not better, or was trained on other data.
        trust: run the code of a model that is not of this pipeline.

    Raises:
        PipelineError: see :mod:`pipeline.errors`.
    """
    from pipeline.stages.promote import promote

    with notebook.reporter() as reporter:
        return promote(run_id, name, reporter, force=force, rollback=False, trust=trust)


@_function()
def load(model: str, *, trust: bool = False) -> "Classifier":
    """Return a model: its ``probabilities(images)`` are (N, C), of images (N, H, W), 0–255; ``class_names`` names them.

    Args:
        model: its address, such as ``models:/mnist-gru@champion`` or ``runs:/RUN_ID/model``.
        trust: run its code, whatever it is.

    Raises:
        TrackingError: there is none, or it does not load.
        UsageError: it is not of this pipeline, and not trusted.
    """
    from pipeline.tracking import classifier

    return classifier.load(model, trust=trust)


@_function()
def predict(
    paths: str | Path | Sequence[str | Path],
    model: str,
    *,
    by_step: bool = False,
    column: str | None = None,
    trust: bool = False,
) -> "pd.DataFrame":
    """Return what is on pictures, a row each: label, probability and runner-up.

    Args:
        paths: of pictures, IDX and Parquet files, and folders of them.
        model: its address.
        by_step: return a row after each step, with the probabilities of all classes.
        column: of Parquet files that holds the pixels, if it is not the only one of lists of numbers.
        trust: run its code, whatever it is.

    Raises:
        DataError: a file could not be read, or a folder holds no images.
        TrackingError: there is no such model.
        UsageError: the model is not of this pipeline, and not trusted.
    """
    import pyarrow as pa

    from pipeline.serving import batches

    listed = [paths] if isinstance(paths, str | Path) else paths
    files = batches.files([Path(path) for path in listed])
    if not files:
        raise UsageError("paths: expected at least one picture, IDX or Parquet file or folder, received none.")
    classifier, reading = load(model, trust=trust), batches.Reading(column=column, by_step=by_step)
    found = [reading.schema(files, classifier).empty_table()]
    _, unread = batches.answer(files, classifier, found.append, reading, cores=usable_cores())
    if unread:
        raise unread[0]
    table: pd.DataFrame = pa.concat_tables(found, promote_options="default").to_pandas()
    return table
