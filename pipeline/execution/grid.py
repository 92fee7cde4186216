"""All combinations of the parameter values that a comparison trains."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import chain, product
from math import prod
from typing import Any, get_type_hints

from pipeline import recipes
from pipeline.errors import UsageError
from pipeline.settings import DATA_PARAMETERS, WITHOUT_EFFECT, Settings

MOST = 1_000
"""Maximum number of runs in a comparison: more are probably a mistake, such as a range in place of a list."""

_PLURALS = {"cell": "cells", "seed": "seeds"}

OPTIONS = {
    field.name: _PLURALS.get(field.name, field.name) for field in fields(Settings) if field.name not in DATA_PARAMETERS
}
"""The parameters that take several values in a comparison: the field of the settings, and its option."""

COMPARED = {"cells": "rnn,lstm,gru", "seeds": "1,2,3"}
"""The values that a comparison compares by default."""


def grid(given: Mapping[str, Any]) -> list[Settings]:
    """Return checked settings of all combinations of the ``given`` values.

    Several values are separated by commas; ``1-5`` is a range of whole numbers, including both ends.

    Raises:
        UsageError: a list is empty or names a value twice, a value is wrong, or the combinations are too many.
    """
    for name, plural in _PLURALS.items():
        if name in given:  # it would be overridden by the default of the other
            raise UsageError(f"{name}: must be given as {plural}; got {name}={given[name]!r}. Write {plural}=….")
    rest = COMPARED | dict(given)
    texts = {name: str(rest.pop(option)) for name, option in OPTIONS.items() if option in rest}
    ranges = [_ranges(name, text) for name, text in texts.items()]
    if (count := prod(sum(map(len, each)) for each in ranges)) > MOST:
        raise UsageError(f"A comparison must have at most {MOST:,} runs; got {count:,}. Compare fewer.")
    values = [[str(value) for value in chain(*each)] for each in ranges]
    settings = [recipes.resolve(rest | dict(zip(texts, each, strict=True))) for each in product(*values)]
    for (name, text), listed in zip(texts.items(), values, strict=True):
        if len({getattr(each, name) for each in settings}) < len(listed):
            raise UsageError(f"{OPTIONS[name]}: must name each value once; got {text!r}.")
    return settings


def _ranges(name: str, text: str) -> list[Sequence[object]]:
    """Return the values of a parameter in ranges, which may be long, or one by one."""
    found: list[Sequence[object]] = []
    for part in map(str.strip, text.split(",")):
        if not part:
            example = COMPARED.get(OPTIONS[name], COMPARED["seeds"])
            raise UsageError(
                f"{OPTIONS[name]}: has an empty value; got {text!r}. Write values separated by single commas, such as "
                f"{example}."
            )
        ends = re.fullmatch(r"(\d+)-(\d+)", part) if get_type_hints(Settings)[name] is int else None
        first, last = map(int, ends.groups()) if ends else (0, 0)
        if last < first:
            raise UsageError(f"{OPTIONS[name]}: a range must go from low to high, such as 1-5; got {part!r}.")
        found.append(range(first, last + 1) if ends else [part])
    return found


def shared(parameters: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the parameters of a comparison from its runs' parameters; different values are separated by commas.

    Raises:
        UsageError: two runs have the same effective parameters on this data.
    """
    effective = [tuple(str(each[name]) for name in each if name not in WITHOUT_EFFECT) for each in parameters]
    if len(set(effective)) < len(effective):
        raise UsageError(
            f"The runs of a comparison must differ; got {len(effective)}, but only {len(set(effective))} differ: some "
            "values mean the same, such as steps 0 and the number of rows of an image. Leave one of them out."
        )
    return {
        OPTIONS.get(name, name): ",".join(dict.fromkeys(str(each[name]) for each in parameters))
        for name in parameters[0]
    }
