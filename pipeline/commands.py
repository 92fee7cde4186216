"""The table of commands: the name, options and result of each.

The command line (``cli``) and the functions for Python (``api``) are both made from :data:`COMMANDS`. The command
``compare`` is the function ``compare`` of the module ``stages/compare.py``, unless the table names another module.
Its module is imported when it runs: importing TensorFlow and MLflow takes seconds, and ``--help`` should be fast.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

from annotated_doc import Doc
from annotated_types import Ge, Le, MinLen

from pipeline import recipes
from pipeline.execution import grid
from pipeline.progress import Reporter
from pipeline.settings import DATA_PARAMETERS, NETWORK_PARAMETERS, DataSettings, Settings, validated

REQUIRED: Any = ...


class Option(NamedTuple):
    """An option of a command.

    Attributes:
        name: name of the argument in Python.
        type: type of the value, with its limits; pydantic checks it and converts text.
        help: help text: a noun phrase for a value, an imperative for a switch.
        default: value if the option is not given.
        alias: its :attr:`word`, if it differs from ``name``.
        positional: whether the Python function also takes it by position.
        panel: its heading in the help.
        is_several: whether it takes several values, separated by commas.
    """

    name: str
    type: Any
    help: str
    default: Any = None
    alias: str = ""
    positional: bool = False
    panel: str = "Options"
    is_several: bool = False

    @property
    def word(self) -> str:
        """Name on the command line (with hyphens), in files and in messages."""
        return self.alias or self.name

    @property
    def is_list(self) -> bool:
        """Whether it can be given several times."""
        return list[str] in (self.type, *get_args(self.type))

    @property
    def choices(self) -> list[str]:
        """Values that the shell completes."""
        return [each for each in _parts(self.type) if isinstance(each, str)]

    @property
    def placeholder(self) -> str:
        """Placeholder for the value in the help: its choices and types."""
        names = [_TYPES.get(each, each) for each in _parts(self.type) if each in _TYPES or isinstance(each, str)]
        return f"<{'|'.join(names)}>{',…' if self.is_several else ''}"

    @property
    def text(self) -> str:
        """Help text with the default."""
        if "Default: " in self.help or any(self.default is each for each in (None, False)):
            return self.help
        return f"{self.help} " + ("Required." if self.default is REQUIRED else f"Default: {self.default}.")


_TYPES = {int: "int", float: "float", Path: "path", str: "text"}


def _parts(hint: Any) -> list[Any]:
    """Return the plain types, the choices and the limits in a type hint."""
    return [part for each in get_args(hint) for part in _parts(each)] or [hint]


class Takes(NamedTuple):
    """The parameters that a command takes: the fields of a class, which ``read`` converts for the stage.

    ``several`` means that a parameter takes several values.
    """

    fields: type[DataSettings]
    read: Callable[[Mapping[str, Any]], Any]
    several: bool = False


class Command(NamedTuple):
    """A command.

    Attributes:
        help: what it does; the first line has at most 62 characters, so that the list of commands shows all of it.
        options: options other than the parameters that it takes.
        module: module of the function, such as ``stages.run``; by default the one with its name in ``stages``.
    """

    name: str
    help: str
    examples: Sequence[str]
    options: Sequence[Option] = ()
    takes: Takes | None = None
    module: str = ""

    def run(self, given: Mapping[str, Any], reporter: Reporter, options: Mapping[str, Any]) -> Any:
        """Run the stage with the ``given`` parameters and options; return its result.

        Raises:
            PipelineError: a parameter is wrong, or the stage fails.
        """
        settings = [self.takes.read(given)] if self.takes else []
        stage = getattr(importlib.import_module(f"pipeline.{self.module or f'stages.{self.name}'}"), self.name)
        return stage(*settings, reporter, **self._checked(options))

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options, converted to their types; the defaults of those that are not given."""
        declared = [
            (each.word, each.type, *([] if each.default is REQUIRED else [each.default])) for each in self.options
        ]
        kind = make_dataclass("Options", declared, kw_only=True)
        given = {option.word: options[option.name] for option in self.options if option.name in options}
        checked = validated(kind, given)
        return {option.name: getattr(checked, option.word) for option in self.options}

    @property
    def parameters(self) -> list[Option]:
        """An option for each parameter that the command takes; its value is text, or None if it is not given.

        The settings check it: a wrong value gets the same message from the command line, a file or ``mlflow run -P``.
        """
        if self.takes is None:
            return []
        hints = get_type_hints(self.takes.fields, include_extras=True)
        return [_parameter(each.name, hints[each.name], self.takes) for each in fields(self.takes.fields)]


def _parameter(field: str, hint: Any, takes: Takes) -> Option:
    """Return the option for a field of the settings."""
    is_several = takes.several and field in grid.OPTIONS
    name = grid.OPTIONS[field] if is_several else field
    text = next(each.documentation for each in get_args(hint) if isinstance(each, Doc))
    default = getattr(takes.fields, field, None)  # None if it is computed
    panel = "Data" if field in DATA_PARAMETERS else "Network" if field in NETWORK_PARAMETERS else "Training"
    if is_several:
        default = grid.COMPARED.get(name, default)
    return Option(name, hint, text, default, panel=panel, is_several=is_several)


DATA = Takes(DataSettings, DataSettings.of)
ONE_RUN = Takes(Settings, recipes.resolve)

TEXT, TEXTS, COUNT = str | None, list[str] | None, Annotated[int, Ge(1)] | None

RESUME = Option("resume", TEXT, "ID of an interrupted run to resume, with its original parameters.")
NEW = Option("new", bool, "Start a new run instead of reusing or resuming one that has the same parameters.", False)
IGNORE_MEMORY = Option("force", bool, "Train even if the network seems too large for memory.", False)
REGISTER = Option(
    "register", TEXT, "Name under which to register the model, which becomes the champion if it beats the current one."
)
REGISTER_BEST = REGISTER._replace(help=REGISTER.help.replace("the model", "the best model"))
WORKERS = Option(
    "workers", COUNT, "Number of runs trained in parallel. Default: as many as cores and memory allow; 1 on a GPU."
)
ON = Option("on", str, "Where the work runs: local, ray (cluster at RAY_ADDRESS), or ray://HOST:10001.", "local")
TRUST = Option("trust", bool, "Run a model that you trust, even if its code differs from this version's.", False)
MODEL = Option("model", str, "URI of the model, such as models:/mnist-gru@champion.", REQUIRED, positional=True)
DATA_DIR = Option("data_dir", Path, "Folder for data and checkpoints.", Path("data"))
AS_JSON = Option("as_json", bool, "Print JSON.", False, "json")

_TABLE = [
    Command(
        "run",
        "Download, preprocess, train and evaluate in one MLflow run.",
        ["pipeline run --cell lstm --epochs 10", "pipeline run --config experiment.yaml --seed 2"],
        [RESUME, NEW, IGNORE_MEMORY, REGISTER],
        ONE_RUN,
    ),
    Command(
        "compare",
        "Train configurations with several seeds; report the best.\n\nOptions under Network and Training take"
        " several values, separated by commas; 1-5 is a range of whole numbers.",
        [
            "pipeline compare --cells rnn,lstm,gru --seeds 1-5",
            "pipeline compare --cells gru --hidden-units 64,128 --dropout 0,0.2 --dry-run",
        ],
        [
            WORKERS,
            ON,
            REGISTER_BEST,
            Option(
                "against",
                TEXT,
                "Model, run or comparison; exit code 3 if the best configuration is significantly worse.",
            ),
            Option("dry_run", bool, "Only list the runs, and whether each is new, reused or resumed.", False),
        ],
        Takes(Settings, grid.grid, several=True),
    ),
    Command(
        "search",
        "Search for better parameters and confirm the best ones.\n\nIt varies the parameters with a --range, or else a "
        "default set. --cell takes several cells, separated by commas.",
        [
            "pipeline search --cell gru --trials 30",
            "pipeline search --range learning_rate=1e-4..1e-2:log --range hidden_units=64,128,256 --seconds 1800",
            "pipeline search --cell lstm --recipe accurate --range dropout=0..0.5 --register mnist-lstm",
        ],
        [
            Option(
                "ranges",
                TEXTS,
                "Range of a parameter, one --range for each: name=low..high, name=low..high:log or name=value,value. "
                "Default: see docs/search.md.",
                alias="range",
            ),
            Option(
                "trials",
                Annotated[int, Ge(1), Le(200)] | None,
                "Maximum number of trials. Default: 30; with --seconds: 200.",
            ),
            Option("seconds", COUNT, "Time limit in seconds for starting new trials. Default: none."),
            Option("confirm", Annotated[int, Ge(0), Le(20)], "Number of new seeds to test the best trial; 0: none.", 3),
            WORKERS,
            ON,
            REGISTER_BEST,
        ],
        Takes(Settings, dict),  # the search checks them together with the ranges
        module="tuning.search",
    ),
    Command(
        "report",
        "Write one page of statistics over finished runs.",
        ["pipeline report --parent RUN_ID", "pipeline report --filter \"params.epochs = '30'\" --output all-of-30"],
        [
            Option("parent", TEXT, "ID of the parent run of a comparison."),
            Option("filter", TEXT, "MLflow filter that selects runs, instead of --parent: \"params.epochs = '30'\"."),
            Option("output", Path, "Folder for the page, its tables and figures.", Path("report")),
            Option(
                "form",
                Literal["markdown", "csv", "json"] | None,
                "Format in which the report is printed, for other programs.",
                alias="format",
            ),
        ],
        DATA,
        module="stages.compare",
    ),
    Command(
        "runs",
        "List the latest runs: accuracy, time, state and start.",
        ["pipeline runs", "pipeline runs --limit 100 --json"],
        [Option("limit", Annotated[int, Ge(1)], "Maximum number of runs.", 20, positional=True), DATA_DIR, AS_JSON],
        module="stages.housekeeping",
    ),
    Command(
        "download",
        "Download a data set, or read your own, and verify it.",
        ["pipeline download --source gestures.parquet"],
        takes=DATA,
        module="data.prepare",
    ),
    Command(
        "preprocess",
        "Split the data into training, validation and test parts.",
        ["pipeline preprocess --dataset digits"],
        takes=DATA,
        module="data.prepare",
    ),
    Command(
        "train",
        "Train one network as an MLflow run and log its model.",
        ["pipeline train --cell lstm", "pipeline train --resume RUN_ID"],
        [RESUME, NEW, IGNORE_MEMORY],
        ONE_RUN,
        module="stages.run",
    ),
    Command(
        "evaluate",
        "Evaluate the model of a run on the test data.",
        ["pipeline evaluate --run-id RUN_ID"],
        [Option("run_id", str, "ID of the run to evaluate.", REQUIRED, positional=True), TRUST],
        DATA,
        module="stages.run",
    ),
    Command(
        "promote",
        "Register a model, which becomes champion if it is better.",
        ["pipeline promote --run-id RUN_ID", "pipeline promote --rollback --name mnist-gru"],
        [
            Option("run_id", TEXT, "ID of the run whose model is registered.", positional=True),
            Option("name", TEXT, "Name of the registered model. Default: <dataset>-<cell>.", positional=True),
            Option("force", bool, "Promote the model even if it is not better, or was trained on other data.", False),
            Option("rollback", bool, "Make the previous champion of --name the champion again.", False),
            TRUST,
        ],
        module="tracking.promotion",
    ),
    Command(
        "predict",
        "Classify images or sequences: label and probability.",
        [
            "pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion",
            "pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet",
            "pipeline predict s3://scans/in/ --model models:/mnist-gru@champion --output s3://scans/out/ --on ray",
        ],
        [
            Option(
                "paths",
                Annotated[list[str], MinLen(1)],
                "Files to classify, or folders of them: pictures, IDX, Parquet, or sequences (docs/predict.md).",
                REQUIRED,
                positional=True,
            ),
            MODEL,
            Option(
                "output",
                TEXT,
                "Output file (.csv, .parquet), or folder for a file per input. Default: terminal.",
            ),
            AS_JSON,
            Option("by_step", bool, "Classify after each time step, and write the answers to --output.", False),
            Option("column", TEXT, "Parquet column that contains the pixels. Default: the only suitable one."),
            Option("columns", TEXT, "Columns of a table of sequences, if named differently: id=…,time=…,label=…"),
            ON,
            TRUST,
        ],
        module="serving.predict",
    ),
    Command(
        "serve",
        "Serve a model over HTTP, with a web page on which to try it.",
        ["pipeline serve --model models:/mnist-gru@champion"],
        [
            MODEL,
            Option("host", str, "Address to listen on; 0.0.0.0: all network interfaces.", "127.0.0.1"),
            Option("port", int, "Port to listen on; 0: any free one.", 5001),
            Option("allowed_hosts", TEXTS, "Extra host name that clients may use; repeatable.", alias="allowed_host"),
            TRUST,
        ],
        module="serving.server",
    ),
    Command(
        "doctor",
        "Show versions, hardware, storage and the tracking server.",
        ["pipeline doctor", "pipeline doctor --json"],
        [DATA_DIR, AS_JSON],
        module="stages.housekeeping",
    ),
    Command(
        "clean",
        "Remove files that are no longer needed; end abandoned runs.",
        ["pipeline clean --dry-run", "pipeline clean"],
        [DATA_DIR, Option("dry_run", bool, "Only list what would be removed or ended.", False)],
        module="stages.housekeeping",
    ),
]

COMMANDS: Mapping[str, Command] = {command.name: command for command in _TABLE}
"""Every command by its name, in the order of the help."""
