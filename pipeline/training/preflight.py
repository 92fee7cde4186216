"""Validate the custom cells of some trainings before any data is read."""

from collections.abc import Sequence

from pipeline import cells
from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow


def check(trainings: Sequence[Settings]) -> None:
    """Validate each custom cell once for each direction and size; without one, do nothing.

    Raises:
        UsageError: one cannot be trained, or two of them have classes of one name, which a saved model could not tell
            apart.
    """
    own = {(each.cell, each.direction, each.hidden_units): each for each in trainings if cells.is_custom(each.cell)}
    if not own:
        return
    _check_names(sorted({cell for cell, *_ in own}))
    start_tensorflow(max(each.shards for each in trainings))
    from pipeline.model import cell_validation

    for settings in own.values():
        cell_validation.check(settings)


def _check_names(named: Sequence[str]) -> None:
    of_class: dict[str, str] = {}
    for cell in named:
        name = cell.partition(":")[2]
        if name in of_class:
            raise UsageError(
                f"cells: expected classes of different names, received {of_class[name]} and {cell}. A saved model "
                "knows them by their names: give one another."
            )
        of_class[name] = cell
