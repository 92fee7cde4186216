"""What a comparison trains: the product of the lists of values that it is given."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pipeline import recipes
from pipeline.errors import UsageError
from pipeline.settings import Settings

MOST = 200
"""Trainings in a comparison: MLflow does not take the ids of more into one tag."""

LISTS = {"cells": "cell", "seeds": "seed", "learning_rate": "learning_rate", "hidden_units": "hidden_units"}
"""Of what a comparison takes several values, parted by commas: the option, and the field of the settings."""

COMPARED = {"cells": "rnn,lstm,gru", "seeds": "1,2,3"}
"""What a comparison compares unless told."""


def grid(given: Mapping[str, Any]) -> list[Settings]:
    """Return checked settings of all combinations of the lists among the ``given`` values.

    Raises:
        UsageError: a list is empty or names a value twice, a value is wrong, or the combinations are too many.
    """
    texts = {option: text for option, text in (COMPARED | dict(given)).items() if option in LISTS}
    rest = {name: value for name, value in given.items() if name not in LISTS}
    names = [LISTS[option] for option in texts]
    values = [_parts(option, str(text)) for option, text in texts.items()]
    combinations = list(product(*values))
    if len(combinations) > MOST:
        raise UsageError(
            f"Expected at most {MOST} trainings in one comparison, received {len(combinations)}. Compare fewer."
        )
    return [recipes.resolve(rest | dict(zip(names, combination, strict=True))) for combination in combinations]


def _parts(option: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"{option}: expected values parted by commas, such as {COMPARED['seeds']}, received {text!r}.")
    if len(set(parts)) < len(parts):
        raise UsageError(f"{option}: expected each value once, received {text!r}.")
    return parts


def title(grid: Sequence[Settings]) -> str:
    """Return the name of a comparison's run, such as ``compare-rnn-gru``."""
    return "-".join(["compare", *dict.fromkeys(settings.cell for settings in grid)])


def shared(parameters: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the parameters of a comparison from those of its trainings: where these differ, all values by commas."""
    option_of = {name: option for option, name in LISTS.items()}
    return {
        option_of.get(name, name): ",".join(dict.fromkeys(str(each[name]) for each in parameters))
        for name in parameters[0]
    }
