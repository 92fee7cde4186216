"""The identity of a run: its name, and the fingerprint by which it is found again.

A fingerprint is a digest of everything that determines the numbers of a run: the parameters as they apply to the data,
the data, the file of a custom cell, the versions of TensorFlow and Keras, and the modules :data:`CODE`. So a new
message in the terminal or on a page changes no fingerprint.

A name is the cell, then each parameter that is not the default, then the seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version

from pipeline import cells, disk, recipes
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError, shown
from pipeline.kinds.known import KINDS
from pipeline.model import custom_cells
from pipeline.settings import DATA_PARAMETERS, WITHOUT_EFFECT, Settings

CODE = (
    "cells.py",
    "data/splits.py",
    "epochs.py",
    "evaluation/metrics.py",
    "kinds/[!_]*.py",
    "model/[!_]*.py",
    "settings.py",
)
"""The modules that split, train and score."""

SHORT = {
    "hidden_units": "units",
    "learning_rate": "lr",
    "warmup_epochs": "warmup",
    "weight_decay": "decay",
    "label_smoothing": "smoothing",
    "batch_size": "batch",
}
"""Short names of parameters; the others are short enough."""

_ELSEWHERE = DATA_PARAMETERS | {"recipe", "cell", "seed", "shards"}
"""The parameters that have their own place in a name, and ``shards``, whose default depends on the machine."""


# --- fingerprint ----------------------------------------------------------------------------------------------------


def parameters(settings: Settings, data: DataSet) -> dict[str, object]:
    """Return every parameter by name as it applies to ``data``, and is logged on an MLflow run.

    Raises:
        UsageError: one does not fit the data.
    """
    examples = len(data.train.labels)
    if settings.batch_size > examples:
        raise UsageError(
            f"batch_size: must be at most {examples:,}, the number of training examples of {data.name}; "
            f"got {settings.batch_size:,}."
        )
    values = {each.name: getattr(settings, each.name) for each in fields(Settings)}
    return values | {"dataset": data.name, "source": shown(settings.source), **data.kind.resolved(settings)}


def fingerprint(settings: Settings, data: DataSet) -> str:
    """Return the fingerprint of a run: on one machine, two runs with the same one give the same numbers."""
    return fingerprint_of(parameters(settings, data), data.digest)


def fingerprint_of(parameters: Mapping[str, object], data_digest: str) -> str:
    """Return the fingerprint of a run with these parameters on the raw data with that digest."""
    settled = {name: str(value) for name, value in sorted(parameters.items()) if name not in WITHOUT_EFFECT}
    cell = str(parameters["cell"])
    custom = [custom_cells.source(cell).digest] if cells.is_custom(cell) else []
    versions = version("tensorflow"), version("keras")
    return disk.text_digest(json.dumps(settled), data_digest, disk.code_digest(*CODE), *versions, *custom)


# --- names ----------------------------------------------------------------------------------------------------------


def run_name(settings: Settings, dataset: str) -> str:
    """Return the name of a run, such as ``gru-s1`` or ``gru-digits-accurate-lr=0.01-s1``."""
    return f"{_configuration(settings, dataset)}-s{settings.seed}"


def run_names(grid: Sequence[Settings], dataset: str) -> list[str]:
    """Return the names of several different runs; no two are the same."""
    if len({settings.shards for settings in grid}) == 1:
        return [run_name(settings, dataset) for settings in grid]
    return [f"{_configuration(each, dataset)}-shards={each.shards}-s{each.seed}" for each in grid]


def group_name(run: str) -> str:
    """Return the name of the group of a run: the run's name without the seed."""
    return run.rpartition("-s")[0]


def parent_name(command: str, trainings: Sequence[Settings], dataset: str) -> str:
    """Return the name of the run of a comparison or a search, such as ``compare-rnn-gru-digits``."""
    compared = dict.fromkeys(settings.cell for settings in trainings)
    shared = {settings.recipe for settings in trainings}
    return "-".join([command, *compared, *_unusual(dataset, shared.pop() if len(shared) == 1 else Settings.recipe)])


def _configuration(settings: Settings, dataset: str) -> str:
    """Return the name of a run without its seed."""
    default = recipes.resolve({"recipe": settings.recipe, "cell": settings.cell})
    names = [each.name for each in fields(Settings) if settings.given is None or each.name in settings.given]
    values = [
        f"{SHORT.get(name, name)}={getattr(settings, name)}"
        for name in names
        if name not in _ELSEWHERE and getattr(settings, name) != getattr(default, name)
    ]
    return "-".join([settings.cell, *_unusual(dataset, settings.recipe), *values])


def _unusual(dataset: str, recipe: str) -> list[str]:
    """Return the data set and the recipe, except those that are the default."""
    defaults = {Settings.dataset, *(kind.recipe for kind in KINDS.values())}
    return [value for value in (dataset, recipe) if value not in defaults]
