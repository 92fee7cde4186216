"""Validate custom cells before any data is read."""

from collections.abc import Sequence
from itertools import combinations

from pipeline import cells
from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.startup import start_tensorflow


def check(trainings: Sequence[Settings]) -> None:
    """Validate each custom cell once for each direction and size; without one, do nothing.

    Raises:
        UsageError: one cannot be trained, or two have classes of one name, which a saved model could not tell apart.
    """
    custom = {(each.cell, each.direction, each.hidden_units): each for each in trainings if cells.is_custom(each.cell)}
    if not custom:
        return
    for one, other in combinations(sorted({cell for cell, *_ in custom}), 2):
        if one.partition(":")[2] == other.partition(":")[2]:
            raise UsageError(
                f"cells: expected classes with different names, received {one} and {other}. A saved model identifies "
                "them by name: rename one."
            )
    start_tensorflow(max(each.shards for each in trainings))
    from pipeline.model import cell_validation

    for settings in custom.values():
        cell_validation.check(settings)
