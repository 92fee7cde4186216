"""Every parameter of the pipeline, declared once.

A field here is a Typer option, a check, and an MLflow param: its name, type, range, help and default are read from this
file by all three. Options stay ``None`` on the command line until the user gives one, which distinguishes given values
from defaults.

The checks are pydantic's. It is imported when they run, not with this module: ``pipeline --help`` also reads the
fields, and should be fast.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate

from pipeline import disk
from pipeline.cells import GATED, Cell, check_custom
from pipeline.errors import UsageError, shown, suggestion
from pipeline.machine import usable_cores

DATASETS = ("mnist", "fashion-mnist", "kmnist", "digits")
Order = Literal["rows", "columns", "snake", "permuted"]
Recipe = Literal["tutorial", "accurate", "deep", "quick", "pixels", "sequences"]

MIRRORS = "mirrors"
"""The ``source`` of a published data set: its files in this package, or its mirrors."""

MLFLOW_RUN_ID = "MLFLOW_RUN_ID"
"""The environment variable that ``mlflow run`` sets; its users give parameters as ``-P name=value``."""

DATA_PARAMETERS = frozenset({"dataset", "source", "columns", "image_size", "data_dir"})
"""The parameters that name the data, its source and its folder; its digest identifies the content."""

CHRONO = frozenset({"chrono", "log-chrono"})
"""The initializers that set the biases of gates; see ``model/network.py``."""

NETWORK_PARAMETERS = frozenset(
    {"cell", "steps", "order", "hidden_units", "layers", "direction", "initializer", "activation"}
)
"""The parameters of the network; the others determine how it is trained."""

WITHOUT_EFFECT = DATA_PARAMETERS | {"recipe"}
"""The parameters that do not change the numbers of a run; a recipe acts only through the values that it sets."""


def expanded(path: Path) -> Path:
    """Return a path with a leading ~ replaced: the shell does not do this within ``-P source=~/…``."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - unlike Path, it accepts the names of unknown users


def is_address(source: str) -> bool:
    """Return whether a ``source`` is an address rather than a folder."""
    return "://" in source


def command(stage: str, **values: object) -> str:
    """Return the command line for a ``stage``, in this user's form: ``pipeline …``, or ``mlflow run . -e …``."""
    start = f"pipeline {stage}"
    if MLFLOW_RUN_ID in os.environ:
        start = "mlflow run ." if stage == "run" else f"mlflow run . -e {stage}"
    return " ".join([start, *(option(name, value) for name, value in values.items())])


def option(name: str, value: object = "…") -> str:
    """Return a parameter in this user's form: ``--name value``, or ``-P name=value``; True is a switch."""
    text = shlex.quote(str(value)) if value != "…" else "…"
    if MLFLOW_RUN_ID in os.environ:
        return f"-P {name}={'true' if value is True else text}"
    return f"--{name.replace('_', '-')}" + ("" if value is True else f" {text}")


def default_shards() -> int:
    """Return the number of cores that this process may use, at most 4."""
    return min(usable_cores(), 4)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data, its source and its folder: the parameters of `download` and `preprocess`."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012 - pydantic's own name for it

    dataset: Annotated[
        str, MinLen(1), Doc(f"Data set: {', '.join(DATASETS)}, or the name of one in the --source folder.")
    ] = "mnist"
    source: Annotated[
        str,
        MinLen(1),
        Doc(
            "Where the data comes from: mirrors (published copies of --dataset; MNIST ships with this package), or "
            "your own file, folder or URL (docs/data.md)."
        ),
    ] = MIRRORS
    columns: Annotated[
        str,
        Doc("Your columns in a table of sequences, as id=NAME,time=NAME,label=NAME. Default: id, time and label."),
    ] = ""
    image_size: Annotated[
        int, Ge(0), Le(4_096), Doc("Number of pixels per side to which image files are scaled; 0: no scaling.")
    ] = 0
    data_dir: Annotated[Path, Doc("Folder for data and checkpoints.")] = Path("data")

    def __post_init__(self) -> None:
        """Replace a leading ~ in ``data_dir``; :attr:`key` does so for ``source``.

        Raises:
            UsageError: ``source`` is an address, but not an http or https address with a host; or no published data set
                has this name, and no source is given.
        """
        object.__setattr__(self, "data_dir", expanded(self.data_dir))
        if is_address(self.source) and not re.match("https?://[^/…]", shown(self.source), re.IGNORECASE):
            raise UsageError(
                f"source: must be 'mirrors', a file, a folder, or an http or https URL; got {shown(self.source)!r}."
            )
        if self.published and self.dataset not in DATASETS:
            raise UsageError(
                f"dataset: must be one of {', '.join(DATASETS)}; got {self.dataset!r}."
                f"{suggestion(self.dataset, DATASETS)} For your own data, give its file or folder: "
                f"`{option('source')}`."
            )

    @property
    def published(self) -> bool:
        """Whether the data is the published ``dataset``, rather than the content of ``source``."""
        return self.source == MIRRORS

    @property
    def key(self) -> str:
        """The form of ``source`` that is kept with the data: the same from every working directory, without secrets.

        An absolute path, or an address that ends in /, followed by a digest of its query, which may select the data.
        """
        if self.published:
            return self.source
        if not is_address(self.source):
            return os.path.realpath(expanded(Path(self.source)))  # unlike resolve, accepts links that form a loop
        query = self.source.partition("?")[2]
        return shown(self.source).rstrip("/") + "/" + (f"#{disk.text_digest(query)[: disk.SHORT]}" if query else "")

    @property
    def request(self) -> str:
        """The requested data: the key, and the options that select a part of it."""
        chosen = {name: getattr(self, name) for name in ("dataset", "columns", "image_size")}
        given = [f"{name}={value}" for name, value in chosen.items() if value != getattr(DataSettings, name)]
        return " ".join([self.key, *([] if self.published else given)])

    def command(self, stage: str) -> str:
        """Return the command line for a ``stage`` on the data that these settings name."""
        options = {
            each.name: getattr(self, each.name)
            for each in fields(DataSettings)
            if getattr(self, each.name) != each.default
        }
        return command(stage, **{name: shown(str(value)) for name, value in options.items()})

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return checked settings: the ``given`` values, and the defaults of the rest.

        Raises:
            UsageError: a parameter is wrong; the message names each with its required and its given value.
        """
        return cast(Self, validated(cls, given))


@dataclass(frozen=True, kw_only=True)
class Settings(DataSettings):
    """All parameters of a run. The defaults are the tutorial's; ``recipes.resolve`` applies the values of recipes.

    Attributes:
        given: the parameters from which ``recipes.resolve`` made these; None if they were made in another way: then
            every value counts as given.
    """

    given: ClassVar[Mapping[str, Any] | None] = None

    cell: Annotated[
        Cell | Annotated[str, Predicate(check_custom)],
        Doc("Recurrent cell: built-in (mgu: minimal gated unit), or custom as module:Class (docs/cells.md)."),
    ] = "gru"
    steps: Annotated[
        int, Ge(-1), Doc("Number of time steps per image; 0: one per row (or column), -1: one per pixel.")
    ] = 0
    order: Annotated[
        Order, Doc("Order in which pixels are read; snake: rows in alternating directions; permuted: random but fixed.")
    ] = "rows"
    hidden_units: Annotated[int, Ge(1), Le(8_192), Doc("Number of hidden units per layer and direction.")] = 128
    layers: Annotated[int, Ge(1), Le(64), Doc("Number of stacked recurrent layers.")] = 1
    direction: Annotated[
        Literal["forward", "bidirectional"], Doc("Direction of reading; bidirectional: forward and backward.")
    ] = "forward"
    initializer: Annotated[
        Literal["orthogonal", "identity", "chrono", "log-chrono"],
        Doc(
            "Initial recurrent weights: orthogonal or identity; chrono and log-chrono: orthogonal, plus gate biases "
            "that favour long memory."
        ),
    ] = "orthogonal"
    activation: Annotated[
        Literal["tanh", "relu"],
        Doc("Activation of the rnn cell; the others always use tanh."),
    ] = "tanh"
    recipe: Annotated[
        Recipe,
        Doc(
            "Named set of parameter values (docs/recipes.md). The defaults listed here belong to tutorial; other "
            "recipes change them. Default: tutorial; for sequence data, the recipe named sequences."
        ),
    ] = "tutorial"
    dropout: Annotated[float, Ge(0), Lt(1), Doc("Dropout rate after each recurrent layer.")] = 0.0
    learning_rate: Annotated[float, Gt(0), Doc("Learning rate of Adam; with a schedule, its maximum.")] = 0.001
    schedule: Annotated[
        Literal["constant", "cosine"], Doc("Learning-rate schedule; cosine falls to 0 at the last epoch.")
    ] = "constant"
    warmup_epochs: Annotated[
        float, Ge(0), Le(1_000_000), Doc("Number of epochs in which the learning rate rises from 0; may be fractional.")
    ] = 0.0
    weight_decay: Annotated[float, Ge(0), Doc("Weight decay, as in AdamW, of all weights except biases.")] = 0.0
    clip_norm: Annotated[float, Ge(0), Doc("Maximum global norm of the gradients; 0: no clipping.")] = 0.0
    ema: Annotated[
        float,
        Ge(0),
        Lt(1),
        Doc(
            "Momentum, such as 0.99, of a moving average of the weights; the average is validated and saved instead of "
            "the last weights; 0: no average."
        ),
    ] = 0.0
    augmentation: Annotated[
        Literal["none", "affine", "elastic"],
        Doc("Random changes of images: affine rotates, shifts and scales; elastic also deforms."),
    ] = "none"
    augmented: Annotated[float, Gt(0), Le(1), Doc("Fraction of the images that are augmented in each epoch.")] = 1.0
    distortion: Annotated[
        float,
        Gt(0),
        Le(4),
        Doc("Strength of the augmentation: multiplies its maximum rotation, shift, scaling and deformation."),
    ] = 1.0
    jitter: Annotated[
        float, Ge(0), Le(4), Doc("Noise added to sequences in training, in standard deviations of each feature.")
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Ge(0),
        Lt(1),
        Doc("Fraction of each label spread over all classes in training; reported costs are computed without it."),
    ] = 0.0
    epochs: Annotated[int, Ge(1), Le(1_000_000), Doc("Number of passes over the training examples.")] = 30
    patience: Annotated[
        int,
        Ge(0),
        Le(1_000_000),
        Doc("Number of epochs without better validation accuracy after which training stops early; 0: never."),
    ] = 0
    batch_size: Annotated[int, Ge(1), Doc("Number of examples per update of the weights.")] = 128
    seed: Annotated[
        int, Ge(0), Le(2**31 - 1), Doc("Seed of initial weights, order of examples, augmentation and dropout.")
    ] = 1
    shards: Annotated[
        int,
        Ge(1),
        Le(64),
        Doc(
            "Number of parts into which each batch is split for parallel computation; results differ slightly with "
            "a different number. Default: number of cores, at most 4."
        ),
    ] = field(default_factory=default_shards)

    def __post_init__(self) -> None:
        """Limit ``shards`` to the size of a batch.

        Raises:
            UsageError: two parameters do not fit together.
        """
        super().__post_init__()
        if self.patience and self.schedule == "cosine":
            raise UsageError(
                f"patience: must be 0 with the cosine schedule; got {self.patience}. Stopping early would skip the "
                "last epochs, where the learning rate falls to 0. Use the constant schedule, or fewer epochs."
            )
        if self.activation != "tanh" and self.cell != "rnn":
            raise UsageError(
                f"activation: must be tanh for cell {self.cell}; got {self.activation}, which only rnn can use."
            )
        if self.initializer in CHRONO and self.cell not in GATED:
            raise UsageError(
                f"initializer: must be orthogonal or identity for cell {self.cell}; got {self.initializer}, which only "
                f"the cells with gates can use: {', '.join(GATED)}."
            )
        object.__setattr__(self, "shards", min(self.shards, self.batch_size))


def validated(kind: Any, given: Mapping[str, Any]) -> Any:
    """Return the ``given`` values as a dataclass of this ``kind``, checked and converted according to its types.

    Raises:
        UsageError: a value is wrong; the message names each with the required and the given value.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        problems: dict[str, list[Any]] = {}
        for problem in error.errors():  # a value with two possible types has an error for each
            problems.setdefault(str(problem["loc"][0]), []).append(problem)
        known = [each.name for each in fields(kind)]
        raise UsageError(" ".join(_explain(name, each, known) for name, each in problems.items())) from None


def _explain(name: str, problems: Sequence[Any], known: Sequence[str]) -> str:
    """Return a sentence on pydantic's ``problems`` with a parameter."""
    received, problem = problems[0]["input"], str(problems[0]["type"])
    if problem == "unexpected_keyword_argument":
        return f"{name}: there is no parameter of this name.{suggestion(name, known)}"
    if problem.startswith("missing"):
        return f"{name}: must be given."
    required = ", or ".join(map(_requirement, problems)).replace(", or be ", ", or ")
    near = suggestion(str(received), re.findall(r"'([\w-]+)'", required))
    quoted = received if _NUMBER.fullmatch(str(received)) else repr(received)
    return f"{name}: must {required}; got {quoted}.{near}"


def _requirement(problem: Any) -> str:
    """Return pydantic's message from "be" on: "Input should be a valid integer, unable to …" → "be a whole number"."""
    text = re.split(r", unable|, got| after", str(problem["msg"]))[0]
    for technical, plain in _PLAIN.items():
        text = text.replace(technical, plain)
    return text


_NUMBER = re.compile(r"[-+]?([.\d]+(e[-+]?\d+)?|inf|nan)")

_PLAIN = {
    "Value error, ": "",
    "Input should ": "",
    "String should ": "",
    "List should ": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
}
