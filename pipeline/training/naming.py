"""What runs are called: the cell, what else tells them apart, and whatever is not as it is by default."""

from collections.abc import Sequence
from dataclasses import fields

from pipeline import cells
from pipeline.settings import Settings

_DEFAULT = Settings()


def training(settings: Settings, dataset: str) -> str:
    """Return the name of a training's run on a data set, such as ``gru-s1`` or ``gru-digits-accurate-s1``."""
    return trainings([settings], dataset)[0]


def trainings(grid: Sequence[Settings], dataset: str) -> list[str]:
    """Return a name for each training on a data set, such as ``gru-learning_rate=0.01-s1``; no two are the same."""
    of_cells = {cell: [each for each in grid if each.cell == cell] for cell in {each.cell for each in grid}}
    telling = {cell: _telling(of_cell) for cell, of_cell in of_cells.items()}
    return [_name(settings, telling[settings.cell], dataset) for settings in grid]


def comparison(grid: Sequence[Settings], dataset: str) -> str:
    """Return the name of a comparison's run, such as ``compare-rnn-gru-digits``."""
    named = dict.fromkeys(settings.cell for settings in grid)
    recipes = {settings.recipe for settings in grid}
    return "-".join(["compare", *named, *_unusual(dataset, recipes.pop() if len(recipes) == 1 else _DEFAULT.recipe)])


def search(cells: Sequence[str], dataset: str, recipe: str) -> str:
    """Return the name of a search's run, such as ``search-gru-digits``."""
    return "-".join(["search", *cells, *_unusual(dataset, recipe)])


def model(settings: Settings, dataset: str) -> str:
    """Return the name of a training's logged model, such as ``mnist-gru``: the one that it is registered by, too."""
    return f"{dataset}-{cells.plain(settings.cell)}"


def group(training: str) -> str:
    """Return the name of the group that a training is in: its own, without the seed."""
    return training.rpartition("-s")[0]


def _telling(of_cell: Sequence[Settings]) -> list[str]:
    """Return the parameters that it takes, besides recipe and seed, to tell trainings of a cell apart, and no more."""
    telling = ["recipe"]
    for name in [each.name for each in fields(Settings) if each.name not in ("cell", "seed", "recipe")]:
        if _told_apart(of_cell, [*telling, name]) > _told_apart(of_cell, telling):
            telling.append(name)
    return telling[1:]


def _name(settings: Settings, telling: Sequence[str], dataset: str) -> str:
    """Return a name with the parameters that tell a training from the others of its cell."""
    values = [f"{name}={getattr(settings, name)}" for name in telling]
    return "-".join([settings.cell, *_unusual(dataset, settings.recipe), *values, f"s{settings.seed}"])


def _unusual(dataset: str, recipe: str) -> list[str]:
    """Return those of the two that are not the default."""
    return [value for value, default in ((dataset, _DEFAULT.dataset), (recipe, _DEFAULT.recipe)) if value != default]


def _told_apart(trainings: Sequence[Settings], names: Sequence[str]) -> int:
    return len({(each.seed, *(getattr(each, name) for name in names)) for each in trainings})
