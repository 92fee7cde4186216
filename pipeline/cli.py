"""The command line: ``pipeline <stage> --name value``; see ``pipeline --help``.

Options are made from the fields of the settings; both ``--batch-size`` and
``--batch_size`` work. Stages are imported when they run, because TensorFlow
and MLflow take seconds to import and ``--help`` should not.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from annotated_doc import Doc
from typer.core import TyperCommand

from pipeline import __version__, recipes
from pipeline.commandline.terminal import TerminalReporter, accept_any_text, print_error
from pipeline.comparison.grid import COMPARED, LISTS, grid
from pipeline.errors import PipelineError, of_library
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, Settings
from pipeline.startup import interruptible

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    help="Train, compare and serve RNN, LSTM and GRU image classifiers, tracked with MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)


def main() -> None:
    """Run the command line."""
    accept_any_text()
    app(prog_name="pipeline")


class _SwitchesTakeValues(TyperCommand):
    """Takes a switch as ``--force true`` or ``--force false``, too: so ``mlflow run -P force=true`` hands it on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave the values out, and the switches that are false."""
        switches = {
            name for parameter in self.params if getattr(parameter, "is_flag", False) for name in parameter.opts
        }
        kept: list[str] = []
        for arg in args:
            if kept and kept[-1].replace("_", "-") in switches and arg.lower() in ("true", "false"):
                kept = kept if arg.lower() == "true" else kept[:-1]
            else:
                kept.append(arg)
        return list(super().parse_args(ctx, kept))


def command(
    settings_class: type[DataSettings], *, lists: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a stage a command whose options are the fields of ``settings_class``.

    The stage is called with the settings, a reporter, and any parameters of its own.
    With ``lists`` some options take several values, and it is called with the settings of all combinations.
    """
    resolve = recipes.resolve if settings_class is Settings else settings_class.of
    settings_of: Callable[[Mapping[str, Any]], Any] = grid if lists else resolve

    def register(stage: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(stage).parameters.values())[2:]

        @functools.wraps(stage)
        def run(**values: Any) -> None:
            extra = {parameter.name: values.pop(parameter.name) for parameter in own}
            given = {name: value for name, value in values.items() if value is not None}
            with _outcome_as_exit_code() as reporter:
                stage(settings_of(given), reporter, **extra)

        parameters = own + (_list_options() if lists else []) + _options(settings_class, lists=lists)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return app.command(cls=_SwitchesTakeValues)(run)

    return register


def _options(settings_class: type[DataSettings], *, lists: bool) -> list[inspect.Parameter]:
    """Return an option per field of the settings, without those for ``lists``; it is None until the user gives it."""
    hints = get_type_hints(settings_class, include_extras=True)
    return [
        _option(field.name, get_args(hints[field.name])[0], _help(field, hints[field.name]))
        for field in fields(settings_class)
        if not (lists and field.name in LISTS.values())
    ]


def _list_options() -> list[inspect.Parameter]:
    """Return the options of a comparison that take several values."""
    hints = get_type_hints(Settings, include_extras=True)
    by_name = {field.name: field for field in fields(Settings)}
    parameters = []
    for option, name in LISTS.items():
        text = _help(by_name[name], hints[name], default=COMPARED.get(option))
        parameters.append(_option(option, str, f"One or more, parted by commas. {text}"))
    return parameters


def _help(field: Field[Any], hint: Any, *, default: str | None = None) -> str:
    text: str = next(item.documentation for item in get_args(hint) if isinstance(item, Doc))
    return text if field.default is MISSING else f"{text} Default: {default or field.default}."


def _option(name: str, value_type: type, text: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False)
    annotation = Annotated[value_type | None, option]  # type: ignore[valid-type] # known when it runs
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


@contextmanager
def _outcome_as_exit_code() -> Iterator[TerminalReporter]:
    """Turn a failure that a user can mend, and what asks to stop, into a message and an exit code."""
    try:
        with interruptible(), TerminalReporter() as reporter:
            yield reporter
    except Exception as error:
        failure = error if isinstance(error, PipelineError) else of_library(error)
        if failure is None:
            raise
        print_error(str(failure))
        raise typer.Exit(failure.exit_code) from None
    except KeyboardInterrupt:
        print_error("Stopped. The MLflow run, where one was open, is marked KILLED.")
        raise typer.Exit(INTERRUPTED) from None


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Quieten TensorFlow and MLflow before a stage imports them; the user's own settings win."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def _describe_project_run(name: str, tags: dict[str, str] | None = None) -> None:
    """Say in the run that ``mlflow run`` opened for this stage what it was; without one, do not import MLflow."""
    if "MLFLOW_RUN_ID" in os.environ:
        from pipeline.tracking import store

        store.describe_project_run(name, tags)


@command(DataSettings)
def download(settings: DataSettings, reporter: Reporter) -> None:
    """Fetch the four IDX files of a data set and verify them."""
    from pipeline.stages.download import download

    raw = download(settings, reporter)
    _describe_project_run(f"download-{raw.name}")


@command(DataSettings)
def preprocess(settings: DataSettings, reporter: Reporter) -> None:
    """Validate the files, split them, and write arrays that can be memory-mapped."""
    from pipeline.stages.preprocess import preprocess

    data = preprocess(settings, reporter)
    _describe_project_run(f"preprocess-{data.name}")


Resume = Annotated[
    str | None, typer.Option("--resume", help="Go on with this MLflow run, which was cut off; it has its parameters.")
]


New = Annotated[
    bool, typer.Option("--new", help="Do not go on with a run of the same training that was cut off: train anew.")
]
ForceMemory = Annotated[bool, typer.Option("--force", help="Try it even if it cannot fit into the memory.")]


def _describe_resumption(run_id: str | None) -> None:
    if run_id:
        _describe_project_run(f"resume-{run_id}", {"resumed_run_id": run_id})


@command(Settings)
def train(
    settings: Settings, reporter: Reporter, resume: Resume = None, new: New = False, force: ForceMemory = False
) -> None:
    """Train one network into an MLflow run, and log its model."""
    from pipeline.jobs.resumable import Beginning
    from pipeline.stages.train import train

    run_id = train(settings, reporter, beginning=Beginning(resume=resume, new=new, force=force))
    reporter.note(f"Run {run_id} holds the training and its model.")
    _describe_resumption(resume)


@command(DataSettings)
def evaluate(
    settings: DataSettings,
    reporter: Reporter,
    run_id: Annotated[str, typer.Option("--run-id", help="The MLflow run whose model is tested.")],
) -> None:
    """Test the model of a run; the results go onto that run."""
    from pipeline.stages.evaluate import evaluate

    evaluate(run_id, settings.data_dir, reporter)
    _describe_project_run(f"evaluate-{run_id}", {"evaluated_run_id": run_id})


Register = Annotated[
    str | None, typer.Option("--register", help="Then register the model by this name; champion, if it is better.")
]


@command(Settings)
def run(
    settings: Settings,
    reporter: Reporter,
    *,
    resume: Resume = None,
    new: New = False,
    force: ForceMemory = False,
    register: Register = None,
) -> None:
    """Do all of it: download, preprocess, train, evaluate, in one MLflow run."""
    from pipeline.jobs.resumable import Beginning
    from pipeline.stages.run import run

    beginning = Beginning(resume=resume, new=new, force=force)
    run_id = run(settings, reporter, beginning=beginning, register=register)
    reporter.note(f"Run {run_id} holds all of it. Look at it with: mlflow ui")
    _describe_resumption(resume)


@command(Settings, lists=True)
def compare(
    settings: list[Settings],
    reporter: Reporter,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Trainings side by side. Default: as many as the machine takes."),
    ] = None,
    register: Register = None,
) -> None:
    """Train several cells with several seeds, side by side, and report which is better."""
    from pipeline.stages.compare import compare

    run_id = compare(settings, reporter, count=workers, register=register)
    reporter.note(f"Run {run_id} holds the comparison. Look at it with: mlflow ui")


@command(DataSettings)
def report(
    settings: DataSettings,
    reporter: Reporter,
    parent: Annotated[
        str | None, typer.Option("--parent", help="The run of a comparison: its children are shown.")
    ] = None,
    filter_string: Annotated[
        str | None, typer.Option("--filter", help="An MLflow filter, such as \"tags.comparison = 'first'\".")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", help="Folder for the page, its tables and figures. Default: report.")
    ] = Path("report"),
) -> None:
    """Compare finished trainings on one page, with mean, deviation and verdict over seeds."""
    from pipeline.stages.report import report

    report(reporter, parent=parent, filter_string=filter_string, data_dir=settings.data_dir, output=output)
    _describe_project_run(f"report-{parent or 'filter'}", {"reported_run_id": parent} if parent else None)


RunOfModel = Annotated[str | None, typer.Option("--run-id", help="The MLflow run whose model it is.")]
RegisteredName = Annotated[str | None, typer.Option("--name", help="Registered model. Default: <dataset>-<cell>.")]
Force = Annotated[bool, typer.Option("--force", help="Also if it is not better, or was trained on other data.")]
Rollback = Annotated[bool, typer.Option("--rollback", help="Go back to the previous champion of --name instead.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code of a model that is not of this pipeline.")]


@app.command(cls=_SwitchesTakeValues)
def promote(
    run_id: RunOfModel = None,
    name: RegisteredName = None,
    force: Force = False,
    rollback: Rollback = False,
    trust: Trust = False,
) -> None:
    """Register a run's model; it is served as champion if it is better than the present one."""
    with _outcome_as_exit_code() as reporter:
        from pipeline.stages.promote import promote

        version = promote(run_id, name, reporter, force=force, rollback=rollback, trust=trust).version
        _describe_project_run(f"promote-{version.name}-{version.number}", {"promoted_run_id": version.run_id})


Model = Annotated[str, typer.Option("--model", help="Its address, such as models:/mnist-gru@champion.")]


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, folders of pictures, and IDX files.")],
    model: Model,
    output: Annotated[
        Path | None, typer.Option("--output", help="A .csv or .parquet file for the answers, in place of print.")
    ] = None,
    trust: Trust = False,
) -> None:
    """Say what is on pictures: label, probability and runner-up of each."""
    with _outcome_as_exit_code() as reporter:
        from pipeline.stages.predict import predict

        predict(paths, model, output, reporter, trust=trust)


@app.command()
def serve(
    model: Model,
    host: Annotated[str, typer.Option("--host", help="Network interface; 0.0.0.0: all of them.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0: any free one.")] = 5001,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name by which others may ask for it, such as digits.example.com."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Serve a model, with a page to draw on."""
    with _outcome_as_exit_code() as reporter:
        from pipeline.stages.serve import serve

        serve(model, reporter, host=host, port=port, allowed_hosts=allowed_host or [], trust=trust)
