"""The search space: ranges of parameters, as text and as Optuna's distributions.

A range is written ``learning_rate=1e-4..1e-2:log`` or ``hidden_units=64,128,256``. A number has a range from a lowest
to a highest value, both included, or a list of values; any other parameter has a list. The settings decide which values
a parameter may have.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline import recipes
from pipeline.cells import CELLS, GATED
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError, suggestion
from pipeline.settings import DATA_PARAMETERS, Settings, option

Range = CategoricalDistribution | FloatDistribution | IntDistribution

DEFAULT = "learning_rate=3e-4..1e-2:log hidden_units=64,128,256 dropout=0..0.5 batch_size=64,128,256"
"""The default ranges."""

DEFAULT_WITHOUT_GATES = (
    "learning_rate=1e-4..3e-3:log hidden_units=64,128,256 clip_norm=0,0.3,1,3 initializer=orthogonal,identity"
)
"""The default ranges if one of the cells has no gates."""

SHARED = {
    "cell": "give several cells, separated by commas: " + option("cell", "gru,lstm"),
    "seed": "all trials have the same seed, because a good seed is luck",
    "epochs": "all trials have the same number; bad ones are stopped early",
    "shards": "it changes only the time and the last bits of the results",
    "recipe": "it stands for values of the other parameters",
    **dict.fromkeys(DATA_PARAMETERS, "all trials share their data"),
}
"""The parameters that are not searched, and why."""

NAMES = tuple(field.name for field in fields(Settings) if field.name not in SHARED)
"""The parameters that can be searched."""

_BETWEEN = re.compile(r"[\s;,]+(?=[\w-]+=)")  # two ranges in one text
_NUMBERS = re.compile(r"(.+?)\s*\.\.\s*(.+?)\s*(:\s*log)?")

Parameters = Mapping[str, Any]
"""The values of a trial's parameters by name, with its cell."""

DIGITS = 3
"""Decimal places of a proposed number, relative to the width of its range."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space.

    Attributes:
        given: the parameters that all trials share, as they were given.
        ranges: the range of each parameter; the cells are the first.
        data: the data to which the defaults are fitted; None if it is not known yet.
    """

    given: Mapping[str, Any]
    ranges: Mapping[str, Range]
    data: DataSet | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells, at least one."""
        return tuple(map(str, range_ends(self.ranges["cell"])))

    @property
    def names(self) -> list[str]:
        """The parameters that differ between trials; the cell first, if there are several."""
        return [name for name, each in self.ranges.items() if not each.single()]

    def settings(self, parameters: Parameters) -> Settings:
        """Return the settings of a trial."""
        return recipes.resolve({**self.given, **parameters}, self.data)

    def base(self, cell: str | None = None) -> Settings:
        """Return the settings that the search starts from: the given values, and the recipe's for the rest."""
        return self.settings({"cell": cell or self.cells[0]})

    def start(self, cell: str) -> Parameters | None:
        """Return the base as a trial; None if it is outside the ranges."""
        values = {name: getattr(self.base(cell), name) for name in self.ranges}
        is_inside = (
            values[name] in each.choices
            if isinstance(each, CategoricalDistribution)
            else each.low <= values[name] <= each.high
            for name, each in self.ranges.items()
        )
        return values if all(is_inside) else None

    def rounded(self, parameters: Parameters) -> Parameters:
        """Return proposed parameters with numbers that are easy to read and to type."""
        floats = {name: each for name, each in self.ranges.items() if isinstance(each, FloatDistribution)}
        short = {name: _rounded(parameters[name], each.low, each.high) for name, each in floats.items()}
        return {**parameters, **short}


def _rounded(value: float, low: float, high: float) -> float:
    """Return a number rounded to enough digits to distinguish a thousand values in its range, and near itself."""
    smallest = min(high - low, abs(value) or high - low)
    return min(max(round(value, DIGITS - 1 - math.floor(math.log10(smallest))), low), high)


def of(given: Mapping[str, Any], texts: Sequence[str]) -> Space:
    """Return the search space for the ranges in ``texts``, or for the default ranges.

    Args:
        given: the given parameters; their default ranges are left out.
        texts: the given ranges.

    Raises:
        UsageError: a range is wrong, there is none, or its parameter also has a value.
    """
    listed = str(given.get("cell", Settings.cell))
    cells = [Settings.of({"cell": part.strip()}).cell for part in listed.split(",")]
    if len(set(cells)) < len(cells):
        raise UsageError(f"cell: must name each cell once; got {listed!r}.")
    shared = {name: value for name, value in given.items() if name != "cell"}
    ranges = parse(texts, cells[0])
    if both := sorted(ranges.keys() & shared.keys()):
        raise UsageError(f"{both[0]}: must be a value or a range; got both. Leave out {option(both[0])} or its range.")
    default = DEFAULT_WITHOUT_GATES if {*cells} & CELLS.keys() - {*GATED} else DEFAULT
    ranges = ranges or {name: each for name, each in parse([default], cells[0]).items() if name not in shared}
    if not ranges:
        raise UsageError(
            "range: must name at least one parameter to search; got none. Give one, such as dropout=0..0.5."
        )
    return Space(given=shared, ranges={"cell": CategoricalDistribution(cells), **ranges})


def parse(texts: Sequence[str], cell: str) -> dict[str, Range]:
    """Return ranges by the names of their parameters; a text may hold several, separated by spaces, ; or commas.

    Raises:
        UsageError: a text is not a range, the parameter cannot be searched, or ``cell`` cannot have one of the values.
    """
    found: dict[str, Range] = {}
    for part in (part for text in texts for part in _BETWEEN.split(text.strip())):
        name, _, values = (piece.strip() for piece in part.partition("="))
        name = name.replace("-", "_")
        if name in SHARED:
            raise UsageError(f"range: {name} cannot be searched: {SHARED[name]}.")
        if name not in NAMES:
            hint = suggestion(name, NAMES) or f" The parameters are {', '.join(NAMES)}."
            raise UsageError(f"range: must name a parameter; got {name!r}.{hint}")
        if name in found:
            raise UsageError(f"range: must name each parameter once; got {name} twice.")
        found[name] = _range(name, values, cell)
    return found


def _range(name: str, text: str, cell: str) -> Range:
    kind = get_type_hints(Settings)[name]
    form = f"{name}={','.join(map(str, get_args(kind))) or 'VALUE,VALUE'} with at least two different values"
    if kind in (int, float):
        form = f"{name}=LOW..HIGH with LOW below HIGH, {name}=LOW..HIGH:log with LOW above 0, or {form}"
        if numbers := _NUMBERS.fullmatch(text):
            low, high = (_value(name, each, cell) for each in (numbers[1], numbers[2]))
            if low < high and (low > 0 or not numbers[3]):
                return (IntDistribution if kind is int else FloatDistribution)(low, high, log=bool(numbers[3]))
    parts = [] if ".." in text or ":" in text else text.split(",")
    choices = [_value(name, part.strip(), cell) for part in parts if part.strip()]
    if 1 < len({*choices}) == len(choices):
        return CategoricalDistribution(choices)
    raise UsageError(f"range: must be {form}; got {name}={text}. Give a single value as {option(name)}.")


def _value(name: str, text: str, cell: str) -> Any:
    """Return a text as a value of the settings; only some cells have some of the values."""
    return getattr(Settings.of({"cell": cell, name: text}), name)


def range_ends(of: Range) -> tuple[Any, ...]:
    """Return the values of a range to check: if these are valid, so are all others."""
    return tuple(of.choices) if isinstance(of, CategoricalDistribution) else (of.low, of.high)


def range_text(of: Range) -> str:
    """Return a range as text, with every digit of its numbers."""
    text = (",".join if isinstance(of, CategoricalDistribution) else "..".join)(map(str, range_ends(of)))
    return f"{text}:log" if isinstance(of, FloatDistribution | IntDistribution) and of.log else text
