"""The command line: ``pipeline <command> --name value``; see ``pipeline --help``.

Stages are imported when they run, because TensorFlow and MLflow take seconds to
import and ``--help`` should not.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import __version__
from pipeline.cli import command
from pipeline.cli.compare_options import Against, DryRun, Filter, Folder, Form, Parent
from pipeline.cli.group import Group
from pipeline.cli.model_options import AllowedHosts, Answers, ByStep, Column, Host, Images, Model, OnParts, Port, Trust
from pipeline.cli.options import ForceMemory, New, On, Quiet, Register, Resume, Verbose, Workers
from pipeline.cli.search_options import Confirm, Ranges, Seconds, Trials
from pipeline.cli.terminal import accept_any_text
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, Settings
from pipeline.startup import mark_environment
from pipeline.tuning import space

app = typer.Typer(
    cls=Group,
    help="Train, compare and serve RNN, LSTM and GRU image classifiers, tracked with MLflow.",
    epilog="`pipeline COMMAND --help` shows what a command takes, with examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)

TRAINING, STEPS, MODELS, HOUSE = "Train and compare", "Step by step", "Use a model", "Look after it"


def main() -> None:
    """Run the command line."""
    accept_any_text()
    mark_environment()
    app(prog_name="pipeline")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take the options that stand before a command."""


def _describe_project_run(kind: str, name: str, tags: dict[str, str] | None = None) -> None:
    """Say in the run that ``mlflow run`` opened for this stage what it was; without one, do not import MLflow."""
    if "MLFLOW_RUN_ID" in os.environ:
        from pipeline.tracking import lifecycle

        lifecycle.describe_project_run(kind, name, tags)


def _describe_resumption(run_id: str | None) -> None:
    if run_id:
        _describe_project_run("resume", run_id, {"resumed_run_id": run_id})


def _tell(reporter: Reporter, run_id: str, what: str) -> None:
    """Say what a run holds, and where to look at it."""
    from pipeline.tracking import store, ui

    reporter.result(f"Run {run_id} holds {what}. {ui.look_at(store.get_run(run_id))}")


# --- train and compare ----------------------------------------------------------------------------------------------


@command.add(
    app,
    TRAINING,
    "pipeline run --cell lstm --epochs 10",
    "pipeline run --recipe accurate --register mnist-gru",
    "pipeline run --config experiment.yaml --seed 2",
    settings=Settings,
)
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
    from pipeline.stages.run import run
    from pipeline.training.resuming import Beginning

    beginning = Beginning(resume=resume, new=new, force=force)
    run_id = run(settings, reporter, beginning=beginning, register=register)
    _tell(reporter, run_id, "all of it")
    _describe_resumption(resume)


@command.add(
    app,
    TRAINING,
    "pipeline compare --cells rnn,lstm,gru --seeds 1-5",
    "pipeline compare --cells gru --hidden-units 64,128 --dropout 0,0.2 --dry-run",
    "pipeline compare --cells gru --against models:/mnist-gru@champion",
    settings=Settings,
    lists=True,
)
def compare(
    settings: list[Settings],
    reporter: Reporter,
    *,
    workers: Workers = None,
    on: On = "local",
    register: Register = None,
    against: Against = None,
    dry_run: DryRun = False,
) -> None:
    """Train several cells with several seeds, side by side, and report which is better.

    Any parameter but those of the data takes several values, parted by commas; of whole numbers 1-5 is a range.
    """
    from pipeline.execution import default_workers, worker_pool

    if dry_run:
        from pipeline.stages import plan

        plan.plan(settings, reporter, count=workers)
        return
    count = workers or default_workers.at_once(len(settings))
    with worker_pool.early(min(count, len(settings)) if on == "local" else 0, "pipeline.execution.job"):
        from pipeline.stages import compare

        run_id = compare.compare(settings, reporter, count=workers, register=register, reference=against, on=on)
    _tell(reporter, run_id, "the comparison")


@command.add(
    app,
    TRAINING,
    "pipeline search --cell gru --trials 30",
    "pipeline search --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256 --seconds 1800",
    "pipeline search --cell lstm --recipe accurate --range dropout=0..0.5 --range ema=0..0.999 --register mnist-lstm",
    settings=Settings,
    checked=False,
)
def search(
    given: Mapping[str, Any],
    reporter: Reporter,
    *,
    ranges: Ranges = None,
    trials: Trials = None,
    seconds: Seconds = None,
    confirm: Confirm = 3,
    workers: Workers = None,
    on: On = "local",
    register: Register = None,
) -> None:
    """Search for better parameters: trials that learn from one another, bad ones ended early, the best one confirmed.

    What is searched is a --range; every other parameter is as in `train`. --cell takes several, parted by commas.
    """
    from pipeline.stages.search import search
    from pipeline.tuning.budget import Budget

    budget = Budget(trials=trials, seconds=seconds, confirm=confirm, workers=workers)
    run_id = search(space.of(given, ranges or []), reporter, budget=budget, register=register, on=on)
    _tell(reporter, run_id, "the search")


@command.add(
    app,
    TRAINING,
    "pipeline report --parent RUN_ID",
    "pipeline report --parent RUN_ID --format markdown --quiet",
    "pipeline report --filter \"params.epochs = '30'\" --output all-of-30-epochs",
    settings=DataSettings,
)
def report(
    settings: DataSettings,
    reporter: Reporter,
    *,
    parent: Parent = None,
    filter_string: Filter = None,
    output: Folder = Path("report"),
    form: Form = None,
) -> None:
    """Compare finished trainings on one page, with mean, deviation and verdict over seeds."""
    from pipeline.stages.report import report

    report(reporter, parent=parent, filter_string=filter_string, data_dir=settings.data_dir, output=output, form=form)
    _describe_project_run("report", parent or "filter", {"reported_run_id": parent} if parent else None)


DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Folder for raw and processed data. Default: data.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print them as JSON.")]


@command.add(app, TRAINING, "pipeline runs", "pipeline runs --limit 100 --json")
def runs(
    reporter: Reporter,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many at most. Default: 20.", show_default=False)
    ] = 20,
    data_dir: DataDir = Path("data"),
    as_json: AsJson = False,
) -> None:
    """List the last trainings: run, cell, data, test accuracy, seconds, state."""
    from pipeline.stages.runs import runs

    runs(reporter, data_dir=data_dir, limit=limit, as_json=as_json)


# --- step by step ---------------------------------------------------------------------------------------------------


@command.add(app, STEPS, "pipeline download --source ~/my-images", settings=DataSettings)
def download(settings: DataSettings, reporter: Reporter) -> None:
    """Fetch the four IDX files of a data set and verify them."""
    from pipeline.stages.download import download

    raw = download(settings, reporter)
    _describe_project_run("download", raw.name)


@command.add(app, STEPS, "pipeline preprocess --dataset digits", settings=DataSettings)
def preprocess(settings: DataSettings, reporter: Reporter) -> None:
    """Validate the files, split them, and write arrays that can be memory-mapped."""
    from pipeline.stages.preprocess import preprocess

    data = preprocess(settings, reporter)
    _describe_project_run("preprocess", data.name)


@command.add(app, STEPS, "pipeline train --cell lstm", "pipeline train --resume RUN_ID", settings=Settings)
def train(
    settings: Settings, reporter: Reporter, *, resume: Resume = None, new: New = False, force: ForceMemory = False
) -> None:
    """Train one network into an MLflow run, and log its model."""
    from pipeline.stages.train import train
    from pipeline.training.resuming import Beginning

    run_id = train(settings, reporter, beginning=Beginning(resume=resume, new=new, force=force))
    _tell(reporter, run_id, "the training and its model")
    _describe_resumption(resume)


@command.add(app, STEPS, "pipeline evaluate --run-id RUN_ID", settings=DataSettings)
def evaluate(
    settings: DataSettings,
    reporter: Reporter,
    *,
    run_id: Annotated[str, typer.Option("--run-id", help="The MLflow run whose model is tested.")],
    trust: Trust = False,
) -> None:
    """Test the model of a run; the results go onto that run."""
    from pipeline.stages.evaluate import evaluate

    evaluate(run_id, settings.data_dir, reporter, trust=trust)
    _describe_project_run("evaluate", run_id, {"evaluated_run_id": run_id})


# --- use a model ----------------------------------------------------------------------------------------------------


@command.add(app, MODELS, "pipeline promote --run-id RUN_ID", "pipeline promote --rollback --name mnist-gru")
def promote(
    reporter: Reporter,
    *,
    run_id: Annotated[str | None, typer.Option("--run-id", help="The MLflow run whose model it is.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Registered model. Default: <dataset>-<cell>.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if it is not better, or was trained on other data.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the previous champion of --name instead.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Register a run's model; it is served as champion if it is better than the present one."""
    from pipeline.stages.promote import promote

    version = promote(run_id, name, reporter, force=force, rollback=rollback, trust=trust).version
    _describe_project_run("promote", f"{version.name}-{version.number}", {"promoted_run_id": version.run_id})


@command.add(
    app,
    MODELS,
    "pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion",
    "pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet",
    "pipeline predict s3://scans/parts/ --model models:/mnist-gru@champion --output s3://scans/answers/ --on ray",
)
def predict(
    reporter: Reporter,
    *,
    paths: Images,
    model: Model,
    output: Answers = None,
    as_json: AsJson = False,
    by_step: ByStep = False,
    column: Column = None,
    on: OnParts = "local",
    trust: Trust = False,
) -> None:
    """Say what is on pictures: label, probability and runner-up of each."""
    from pipeline.serving import storage
    from pipeline.serving.batches import Reading

    reading = Reading(column=column, by_step=by_step)
    if output and storage.is_folder(output) and not as_json:
        from pipeline.stages.predict_folder import predict_folder

        predict_folder(paths, model, output, reading, reporter, on=on, trust=trust)
    else:
        from pipeline.stages.predict import check_local, predict

        check_local(paths, output, on)
        predict(paths, model, output, reading, reporter, as_json=as_json, trust=trust)


@command.add(app, MODELS, "pipeline serve --model models:/mnist-gru@champion")
def serve(
    reporter: Reporter,
    *,
    model: Model,
    host: Host = "127.0.0.1",
    port: Port = 5001,
    allowed_host: AllowedHosts = None,
    trust: Trust = False,
) -> None:
    """Serve a model, with a page to draw on."""
    from pipeline.stages.serve import serve

    serve(model, reporter, host=host, port=port, allowed_hosts=allowed_host or [], trust=trust)


# --- look after it --------------------------------------------------------------------------------------------------


@command.add(app, HOUSE, "pipeline doctor")
def doctor(reporter: Reporter, *, data_dir: DataDir = Path("data"), as_json: AsJson = False) -> None:
    """Show what is installed and used, what lies where and how large it is, and whether the server answers."""
    from pipeline.stages.doctor import doctor

    doctor(reporter, data_dir=data_dir, as_json=as_json)


@command.add(app, HOUSE, "pipeline clean --dry-run", "pipeline clean")
def clean(
    reporter: Reporter,
    *,
    data_dir: DataDir = Path("data"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
) -> None:
    """Remove what is of no use any more, and end runs that nobody is at."""
    from pipeline.stages.clean import clean

    clean(reporter, data_dir=data_dir, dry_run=dry_run)
