"""Names of runs, groups and models: the cell, then each parameter that is not the default, then the seed."""

from collections.abc import Sequence
from dataclasses import fields

from pipeline import cells, recipes
from pipeline.kinds.known import KINDS
from pipeline.settings import DATA_PARAMETERS, Settings

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
"""The parameters that have a place of their own in a name, and one whose default depends on the machine."""


def training(settings: Settings, dataset: str) -> str:
    """Return the name of a run, such as ``gru-s1`` or ``gru-digits-accurate-lr=0.01-s1``: all that is no default."""
    return f"{_configuration(settings, dataset)}-s{settings.seed}"


def trainings(grid: Sequence[Settings], dataset: str) -> list[str]:
    """Return the names of runs that differ; no two are the same."""
    if len({settings.shards for settings in grid}) == 1:
        return [training(settings, dataset) for settings in grid]
    return [f"{_configuration(each, dataset)}-shards={each.shards}-s{each.seed}" for each in grid]


def comparison(grid: Sequence[Settings], dataset: str) -> str:
    """Return the name of a comparison's run, such as ``compare-rnn-gru-digits``."""
    named = dict.fromkeys(settings.cell for settings in grid)
    shared = {settings.recipe for settings in grid}
    return "-".join(["compare", *named, *_unusual(dataset, shared.pop() if len(shared) == 1 else Settings.recipe)])


def search(cells: Sequence[str], dataset: str, recipe: str) -> str:
    """Return the name of a search's run, such as ``search-gru-digits``."""
    return "-".join(["search", *cells, *_unusual(dataset, recipe)])


def model(settings: Settings, dataset: str) -> str:
    """Return the name of a run's logged model, such as ``mnist-gru``; by default it is registered under it, too."""
    return f"{dataset}-{cells.plain(settings.cell)}"


def group(training: str) -> str:
    """Return the name of the group of a run: that of the run without the seed."""
    return training.rpartition("-s")[0]


def _configuration(settings: Settings, dataset: str) -> str:
    """Return the name of a run without its seed."""
    default = recipes.resolve({"recipe": settings.recipe, "cell": settings.cell})
    names = [each.name for each in fields(Settings) if settings.given is None or each.name in settings.given]
    changed = [name for name in names if getattr(settings, name) != getattr(default, name)]
    values = [f"{SHORT.get(name, name)}={getattr(settings, name)}" for name in changed if name not in _ELSEWHERE]
    return "-".join([settings.cell, *_unusual(dataset, settings.recipe), *values])


def _unusual(dataset: str, recipe: str) -> list[str]:
    """Return those of the two that are not the default."""
    defaults = {Settings.dataset, *(kind.recipe for kind in KINDS.values())}
    return [value for value in (dataset, recipe) if value not in defaults]
