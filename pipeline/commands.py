"""The table of commands: the name, options and result of each.

The command line (``cli``) and the functions for Python (``api``) are both made from :data:`COMMANDS`. The command
``compare`` is the function ``compare`` of the module ``stages/compare.py``, unless the table names another module.
Its module is imported when it runs: importing TensorFlow and MLflow takes seconds, and ``--help`` should be fast.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from annotated_doc import Doc

from pipeline import recipes, results
from pipeline.execution import grid
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, NETWORK_PARAMETERS, DataSettings, Settings

REQUIRED: Any = ...


class Option(NamedTuple):
    """An option of a command.

    Attributes:
        name: name of the argument in Python.
        type: type of the value.
        help: help text, a noun phrase.
        default: value if the option is not given.
        flag: name on the command line, if it differs from ``name``.
        positional: whether the Python function also takes it by position.
        least: lowest accepted number.
        panel: its heading in the help.
        metavar: placeholder for the value in the help.
        choices: values that the shell completes.
    """

    name: str
    type: Any
    help: str
    default: Any = None
    flag: str = ""
    positional: bool = False
    least: int | None = None
    panel: str = "Options"
    metavar: str | None = None
    choices: Sequence[str] = ()


class Takes(NamedTuple):
    """The parameters that a command takes.

    Attributes:
        fields: the class whose fields are the parameters.
        read: converts the given values to the argument of the stage.
        several: whether a parameter takes several values.
    """

    fields: type[DataSettings]
    read: Callable[[Mapping[str, Any]], Any]
    several: bool = False


class Command(NamedTuple):
    """A command.

    Attributes:
        name: name on the command line.
        panel: its heading in the help.
        help: what it does; the first line fits the list of commands.
        examples: command lines.
        options: options other than the parameters.
        takes: the parameters, if any.
        module: module of the function, such as ``stages.run``; by default the one with its name in ``stages``.
        result: converts the result of the stage to that of the Python function.
    """

    name: str
    panel: str
    help: str
    examples: Sequence[str]
    options: Sequence[Option] = ()
    takes: Takes | None = None
    module: str = ""
    result: Callable[[Any], Any] = lambda returned: returned

    def run(self, given: Mapping[str, Any], reporter: Reporter, options: Mapping[str, Any]) -> Any:
        """Run the stage with the ``given`` parameters and options; return what it returns.

        Raises:
            PipelineError: a parameter is wrong, or the stage fails.
        """
        settings = [self.takes.read(given)] if self.takes else []
        stage = getattr(importlib.import_module(f"pipeline.{self.module or f'stages.{self.name}'}"), self.name)
        unset = {option.name: option.default for option in self.options}
        return stage(*settings, reporter, **{**unset, **options})

    @property
    def parameters(self) -> list[Option]:
        """An option for each parameter that the command takes; its value is text, or None if it is not given.

        The settings check the text, so a wrong value from the command line, a file or ``mlflow run -P`` gets the same
        message.
        """
        if self.takes is None:
            return []
        hints = get_type_hints(self.takes.fields, include_extras=True)
        options = [
            _parameter(field.name, hints[field.name], field.default, several=self.takes.several)
            for field in fields(self.takes.fields)
        ]
        return sorted(options, key=lambda option: PANELS.index(option.panel))


PANELS = ("Data", "Network", "Training")


def _parameter(field: str, hint: Any, default: object, *, several: bool) -> Option:
    several = several and field in grid.OPTIONS
    name = grid.OPTIONS[field] if several else field
    default = grid.COMPARED.get(name, default) if several else default
    value_type, *details = get_args(hint)
    text = next(each.documentation for each in details if isinstance(each, Doc))
    literal = next((each for each in (value_type, *get_args(value_type)) if get_origin(each) is Literal), None)
    choices = get_args(literal)
    kind = "|".join(choices) if choices else value_type.__name__.lower()
    kind += "" if literal in (None, value_type) else "|…"
    return Option(
        name,
        str | None,
        text if default in (MISSING, "") else f"{text} Default: {default}.",
        panel=PANELS[0 if field in DATA_PARAMETERS else 1 if field in NETWORK_PARAMETERS else 2],
        metavar=f"<{kind}{',…' if several else ''}>",
        choices=choices,
    )


DATA = Takes(DataSettings, DataSettings.of)
ONE_RUN = Takes(Settings, recipes.resolve)
MANY_RUNS = Takes(Settings, grid.grid, several=True)
UNCHECKED = Takes(Settings, dict)

RESUME = Option("resume", str | None, "ID of an interrupted run to resume, with its parameters.")
NEW = Option("new", bool, "Always a new run, instead of reusing a finished one or resuming an interrupted one.", False)
IGNORE_MEMORY = Option("force", bool, "No check whether the network fits into memory.", False)
REGISTER = Option(
    "register", str | None, "Name under which the model is registered; it becomes champion if it is better."
)
WORKERS = Option(
    "workers", int | None, "Number of runs trained in parallel. Default: what cores and memory allow.", least=1
)
ON = Option("on", str, "Where to run: local, ray (the cluster at RAY_ADDRESS), or ray://HOST:10001.", "local")
TRUST = Option("trust", bool, "Permission to run code from a model that this pipeline did not create.", False)
MODEL = Option("model", str, "Address of the model, such as models:/mnist-gru@champion.", REQUIRED, positional=True)
DATA_DIR = Option("data_dir", Path, "Folder for raw and processed data.", Path("data"))
AS_JSON = Option("as_json", bool, "Output as JSON.", False, flag="json")
BY_STEP = Option("by_step", bool, "Answers after each time step, written to --output.", False)
COLUMN = Option(
    "column", str | None, "Parquet column that holds the pixels. Default: the only column that can hold them."
)
COLUMNS = Option(
    "columns", str | None, "Names of the columns of a step table that are no features: id=…,time=…,label=…"
)
PATHS = Option(
    "paths",
    list[str],
    "Files to classify, or folders of them: pictures, IDX, Parquet, or sequences (docs/predict.md).",
    REQUIRED,
    positional=True,
)

TRAIN, STEPS, MODELS, UPKEEP = "Train and compare", "Single steps", "Use a model", "Maintenance"

_TABLE = [
    Command(
        "run",
        TRAIN,
        "Download, preprocess, train and evaluate in one MLflow run.",
        [
            "pipeline run --cell lstm --epochs 10",
            "pipeline run --recipe accurate --register mnist-gru",
            "pipeline run --config experiment.yaml --seed 2",
        ],
        [RESUME, NEW, IGNORE_MEMORY, REGISTER],
        ONE_RUN,
        result=results.RunResult,
    ),
    Command(
        "compare",
        TRAIN,
        "Train several cells with several seeds and report the best.\n\nOptions under Network and Training take several"
        " values, separated by commas; 1-5 is a range of whole numbers.",
        [
            "pipeline compare --cells rnn,lstm,gru --seeds 1-5",
            "pipeline compare --cells gru --hidden-units 64,128 --dropout 0,0.2 --dry-run",
            "pipeline compare --cells gru --against models:/mnist-gru@champion",
        ],
        [
            WORKERS,
            ON,
            REGISTER,
            Option(
                "against",
                str | None,
                "Model or run to check against: exit code 3 if the recommended one is significantly worse.",
            ),
            Option("dry_run", bool, "No training: only a list of the runs and their estimated time.", False),
        ],
        MANY_RUNS,
        result=results.Comparison,
    ),
    Command(
        "search",
        TRAIN,
        "Search for better parameters and confirm the best ones.\n\nOnly parameters with a --range are searched. "
        "--cell takes several cells, separated by commas.",
        [
            "pipeline search --cell gru --trials 30",
            "pipeline search --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256 --seconds 1800",
            "pipeline search --cell lstm --recipe accurate --range dropout=0..0.5 --register mnist-lstm",
        ],
        [
            Option(
                "ranges",
                list[str] | None,
                "Range of a parameter, one --range for each: name=low..high, name=low..high:log or name=value,value. "
                "Default: see docs/search.md.",
                flag="range",
            ),
            Option("trials", int | None, "Maximum number of trials. Default: 30.", least=1),
            Option("seconds", int | None, "Time limit in seconds for starting new trials. Default: none.", least=1),
            Option(
                "confirm",
                int,
                "Number of new seeds for the final test of the best trial against the start; 0: no test.",
                3,
                least=0,
            ),
            WORKERS,
            ON,
            REGISTER,
        ],
        UNCHECKED,
        result=results.Search,
    ),
    Command(
        "report",
        TRAIN,
        "Compare finished runs on one page, with statistics over seeds.",
        [
            "pipeline report --parent RUN_ID",
            "pipeline report --parent RUN_ID --format markdown --quiet",
            "pipeline report --filter \"params.epochs = '30'\" --output all-of-30-epochs",
        ],
        [
            Option("parent", str | None, "ID of the comparison to report."),
            Option(
                "filter", str | None, "MLflow filter that selects runs, instead of --parent: \"params.epochs = '30'\"."
            ),
            Option("output", Path, "Output folder for the page, its tables and figures.", Path("report")),
            Option(
                "form",
                Literal["markdown", "csv", "json", "latex"] | None,
                "Print the tables in this format.",
                flag="format",
            ),
        ],
        DATA,
    ),
    Command(
        "runs",
        TRAIN,
        "List the latest runs with their accuracy, time and state.",
        ["pipeline runs", "pipeline runs --limit 100 --json"],
        [Option("limit", int, "Maximum number of runs.", 20, positional=True, least=1), DATA_DIR, AS_JSON],
        module="stages.housekeeping",
        result=results.table,
    ),
    Command(
        "download",
        STEPS,
        "Download a data set, or read your own, and verify it.",
        ["pipeline download --source gestures.parquet"],
        takes=DATA,
        module="data.prepare",
        result=attrgetter("folder"),
    ),
    Command(
        "preprocess",
        STEPS,
        "Split the data into training, validation and test parts.",
        ["pipeline preprocess --dataset digits"],
        takes=DATA,
        module="data.prepare",
    ),
    Command(
        "train",
        STEPS,
        "Train one network as an MLflow run and log its model.",
        ["pipeline train --cell lstm", "pipeline train --resume RUN_ID"],
        [RESUME, NEW, IGNORE_MEMORY],
        ONE_RUN,
        module="stages.run",
        result=results.RunResult,
    ),
    Command(
        "evaluate",
        STEPS,
        "Evaluate the model of a run on the test data.",
        ["pipeline evaluate --run-id RUN_ID"],
        [Option("run_id", str, "ID of the run to evaluate.", REQUIRED, positional=True), TRUST],
        DATA,
        module="stages.run",
        result=results.RunResult,
    ),
    Command(
        "promote",
        MODELS,
        "Register the model of a run; make it champion if it is better.",
        ["pipeline promote --run-id RUN_ID", "pipeline promote --rollback --name mnist-gru"],
        [
            Option("run_id", str | None, "ID of the run whose model is registered.", positional=True),
            Option("name", str | None, "Name of the registered model. Default: <dataset>-<cell>.", positional=True),
            Option("force", bool, "Promotion even if the model is not better, or was trained on other data.", False),
            Option("rollback", bool, "Restore the previous champion of --name.", False),
            TRUST,
        ],
        module="tracking.promotion",
    ),
    Command(
        "predict",
        MODELS,
        "Classify images or sequences: label, probability and runner-up.",
        [
            "pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion",
            "pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet",
            "pipeline predict gestures.parquet --model models:/gestures-gru@champion --output answers.csv",
            "pipeline predict s3://scans/in/ --model models:/mnist-gru@champion --output s3://scans/out/ --on ray",
        ],
        [
            PATHS,
            MODEL,
            Option(
                "output",
                str | None,
                "Output file (.csv or .parquet), or a folder for one file per input. Default: the terminal.",
            ),
            AS_JSON,
            BY_STEP,
            COLUMN,
            COLUMNS,
            ON,
            TRUST,
        ],
    ),
    Command(
        "serve",
        MODELS,
        "Serve a model over HTTP, with a page to try it on.",
        ["pipeline serve --model models:/mnist-gru@champion"],
        [
            MODEL,
            Option("host", str, "Address to listen on; 0.0.0.0: all network interfaces.", "127.0.0.1"),
            Option("port", int, "Port to listen on; 0: any free one.", 5001),
            Option(
                "allowed_hosts",
                list[str] | None,
                "Host name under which clients may reach the server, such as digits.example.com.",
                flag="allowed-host",
            ),
            TRUST,
        ],
    ),
    Command(
        "doctor",
        UPKEEP,
        "Show versions, hardware, storage and the tracking server.",
        ["pipeline doctor", "pipeline doctor --json"],
        [DATA_DIR, AS_JSON],
        module="stages.housekeeping",
    ),
    Command(
        "clean",
        UPKEEP,
        "Remove files that are no longer needed; end abandoned runs.",
        ["pipeline clean --dry-run", "pipeline clean"],
        [DATA_DIR, Option("dry_run", bool, "No removal: only a list of what would be removed.", False)],
        module="stages.housekeeping",
    ),
]

COMMANDS: Mapping[str, Command] = {command.name: command for command in _TABLE}
"""Every command by its name, in the order of the help."""
