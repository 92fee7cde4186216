"""The search space: ranges of parameters, as text and as Optuna's distributions, around what all trials share.

A range is written ``learning_rate=1e-4..1e-2:log`` or ``hidden_units=64,128,256``. A number has a range from a lowest
to a highest value, both included, or a list of values; any other parameter has a list. The settings decide which values
a parameter may have.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, product
from typing import Any, get_args, get_type_hints

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline import recipes
from pipeline.errors import UsageError, suggestion
from pipeline.settings import DATA_PARAMETERS, Settings, option

Range = CategoricalDistribution | FloatDistribution | IntDistribution

Value = int | float | str

EXAMPLES = "learning_rate=1e-4..1e-2:log, hidden_units=64,128,256 or dropout=0..0.5"

_GATED = "learning_rate=3e-4..1e-2:log hidden_units=64,128,256 dropout=0..0.5 batch_size=64,128,256"

DEFAULTS: Mapping[str, str] = {
    "rnn": "learning_rate=1e-4..3e-3:log hidden_units=64,128,256 clip_norm=0,0.3,1,3 initializer=orthogonal,identity",
    "lstm": _GATED,
    "gru": _GATED,
}
"""The default ranges of each cell; a cell that is not here has those of a GRU."""

TRIALS = 30
"""The number of trials of a search that has neither a number nor a time limit."""

MOST_TRIALS, MOST_SEEDS = 200, 20
"""Limits of a search: MLflow does not take the ids of more trainings into one tag."""

SHARED = {
    "cell": "give several of them with commas: " + option("cell", "gru,lstm"),
    "seed": "all trials share one, as a good seed is luck",
    "epochs": "all trials have the same number; bad ones are stopped early",
    "shards": "it changes the time and the last bits of the results only",
    "recipe": "it is a name for values of the other parameters",
    **dict.fromkeys(DATA_PARAMETERS, "all trials share their data"),
}
"""The parameters that are not searched, and why."""

NAMES = tuple(field.name for field in fields(Settings) if field.name not in SHARED)
"""The parameters that can be searched."""

_BETWEEN = re.compile(r"[\s;,]+(?=\w+=)")  # two ranges in one text

Parameters = Mapping[str, Value]
"""The values that were chosen for a trial, by name, with its cell."""

DIGITS = 3
"""Decimal places of a proposed number, relative to the width of its range."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space.

    Attributes:
        cells: at least one.
        given: the parameters that all trials share, as they were given.
        ranges: by cell and parameter.
    """

    cells: tuple[str, ...]
    given: Mapping[str, Any]
    ranges: Mapping[str, Mapping[str, Range]]

    @property
    def names(self) -> list[str]:
        """The parameters that differ between trials; the cell first, if there are several."""
        searched = dict.fromkeys(name for cell in self.cells for name in self.ranges[cell])
        return [*(["cell"] if len(self.cells) > 1 else []), *searched]

    def settings(self, parameters: Parameters) -> Settings:
        """Return the settings of a trial."""
        return recipes.resolve({**self.given, **parameters})

    def base(self, cell: str | None = None) -> Settings:
        """Return the settings that the search starts from: the given values, and the recipe's for the rest."""
        return self.settings({"cell": cell or self.cells[0]})

    def start(self, cell: str) -> Parameters | None:
        """Return the base as a trial; None if it is outside the ranges."""
        base, of_cell = self.base(cell), self.ranges[cell]
        values: dict[str, Value] = {name: getattr(base, name) for name in of_cell}
        return {"cell": cell, **values} if all(is_in(of_cell[name], values[name]) for name in values) else None

    def corners(self) -> Iterator[Parameters]:
        """Yield, for every two parameters of a cell, the ends of their ranges in all combinations."""
        for cell in self.cells:
            ends = {name: range_ends(each) for name, each in self.ranges[cell].items()} | {"cell": (cell,)}
            for first, second in combinations(ends, 2):
                for one, other in product(ends[first], ends[second]):
                    yield {"cell": cell, first: one, second: other}

    def text(self, name: str) -> str:
        """Return the range of a parameter as it is written, by cell if they differ."""
        if name == "cell":
            return ",".join(self.cells)
        texts = {cell: range_text(self.ranges[cell][name]) for cell in self.cells if name in self.ranges[cell]}
        if len(set(texts.values())) == 1 and len(texts) == len(self.cells):
            return next(iter(texts.values()))
        return "; ".join(f"{cell} {text}" for cell, text in texts.items())

    def in_study(self, parameters: Parameters) -> tuple[dict[str, Value], dict[str, BaseDistribution]]:
        """Return the values of a trial, and their ranges, by the names that they have in a study.

        A parameter whose range is not the same for all cells has the cell in its name there.
        """
        cell = str(parameters["cell"])
        values = {self._key(cell, name): parameters[name] for name in self.ranges[cell]}
        ranges: dict[str, BaseDistribution] = {self._key(cell, name): each for name, each in self.ranges[cell].items()}
        if len(self.cells) > 1:
            return values | {"cell": cell}, ranges | {"cell": CategoricalDistribution(self.cells)}
        return values, ranges

    def _key(self, cell: str, name: str) -> str:
        """Return the name of a parameter in a study."""
        same = all(self.ranges[other].get(name) == self.ranges[cell][name] for other in self.cells)
        return name if same else f"{cell}.{name}"

    def propose(self, asked: optuna.Trial) -> Parameters:
        """Return the parameters that a study proposes, each as a number that is easy to read and to type."""
        cell = str(asked.suggest_categorical("cell", self.cells)) if len(self.cells) > 1 else self.cells[0]
        found: dict[str, Any] = {"cell": cell}
        for name, each in self.ranges[cell].items():
            key = self._key(cell, name)
            if hasattr(each, "choices"):
                found[name] = asked.suggest_categorical(key, each.choices)
            elif isinstance(each.low, int):
                found[name] = asked.suggest_int(key, each.low, int(each.high), log=each.log)
            else:
                found[name] = _rounded(asked.suggest_float(key, each.low, each.high, log=each.log), each.low, each.high)
        return found


def _rounded(value: float, low: float, high: float) -> float:
    """Return a number with as many digits as tell a thousand values of its range apart, and at least as many itself."""
    smallest = min(high - low, abs(value) or high - low)
    return min(max(round(value, DIGITS - 1 - math.floor(math.log10(smallest))), low), high)


def of(given: Mapping[str, Any], texts: Sequence[str]) -> Space:
    """Return the search space of the ranges that are ``texts``, or of the cells' default ranges.

    Args:
        given: the parameters that were given; a default range of one of them is left out.
        texts: ranges, as they were given.

    Raises:
        UsageError: a range is wrong, there is none, its parameter is given as well, or two values do not go together.
    """
    cells = _cells(str(given.get("cell", Settings.cell)))
    shared = {name: value for name, value in given.items() if name != "cell"}
    told = parse(texts)
    if both := sorted(told.keys() & shared.keys()):
        raise UsageError(
            f"{both[0]}: expected a value or a range, received both. Leave out {option(both[0])} or its range."
        )
    of_cells = {cell: told or _defaults(cell, shared) for cell in cells}
    if not any(of_cells.values()):
        raise UsageError(f"range: expected at least one parameter to search, received none: {EXAMPLES}.")
    space = Space(cells=cells, given=shared, ranges=of_cells)
    for corner in space.corners():
        space.settings(corner)
    return space


def _defaults(cell: str, shared: Mapping[str, Any]) -> dict[str, Range]:
    found = parse([DEFAULTS.get(cell, DEFAULTS["gru"])])
    return {name: each for name, each in found.items() if name not in shared}


def _cells(text: str) -> tuple[str, ...]:
    cells = [Settings.of({"cell": part.strip()}).cell for part in text.split(",")]
    if len(set(cells)) < len(cells):
        raise UsageError(f"cell: expected each cell once, received {text!r}.")
    return tuple(cells)


def parse(texts: Sequence[str]) -> dict[str, Range]:
    """Return ranges by the names of their parameters; a text may hold several, separated by spaces, ; or commas.

    Raises:
        UsageError: a text is not a range, the parameter cannot be searched, or it cannot have one of the values.
    """
    found: dict[str, Range] = {}
    for text in texts:
        for part in _BETWEEN.split(text.strip()):
            name, equals, values = (piece.strip() for piece in part.partition("="))
            name = name.replace("-", "_")
            if not equals:
                raise UsageError(f"range: expected a parameter and its values, such as {EXAMPLES}, received {part!r}.")
            _check_name(name)
            if name in found:
                raise UsageError(f"range: expected each parameter once, received {name} twice.")
            found[name] = _range(name, values)
    return found


def _check_name(name: str) -> None:
    if name in SHARED:
        raise UsageError(f"range: expected a parameter that can be searched, received {name}: {SHARED[name]}.")
    if name not in NAMES:
        hint = suggestion(name, NAMES) or f" Known are {', '.join(NAMES)}."
        raise UsageError(f"range: expected a parameter, received {name!r}.{hint}")


def _range(name: str, text: str) -> Range:
    numbers, _, scale = text.partition(":")
    low, dots, high = (piece.strip() for piece in numbers.partition(".."))
    if dots:
        return _numbers(name, text, low, high, scale.strip())
    if scale:
        raise UsageError(f"range: expected :{scale} after two numbers, as in {name}=1..10:log, received {text!r}.")
    values = [_value(name, part.strip()) for part in text.split(",") if part.strip()]
    if len(set(values)) < max(2, len(values)):
        raise UsageError(
            f"range: expected at least two values of {name}, each once, received {text!r}. "
            f"Give a single value as {option(name)}."
        )
    return CategoricalDistribution(values)


def _numbers(name: str, text: str, low: str, high: str, scale: str) -> Range:
    kind = get_type_hints(Settings)[name]
    if kind not in (int, float):
        choices = ",".join(map(str, get_args(kind)))
        raise UsageError(f"range: expected some of its values for {name}, {choices}, received the range {text!r}.")
    if scale not in ("", "log"):
        raise UsageError(f"range: expected :log or nothing after the numbers of {name}, received {text!r}.")
    if not low or not high:
        raise UsageError(f"range: expected a lowest and a highest value of {name}, as in 1..10, received {text!r}.")
    first, last = _value(name, low), _value(name, high)
    if first >= last:
        raise UsageError(f"range: expected a range of {name} that ascends, received {text!r}.")
    if scale and first <= 0:
        raise UsageError(
            f"range: expected a logarithmic range of {name} that begins above 0, received {text!r}. "
            "Begin with a small number, or leave :log out."
        )
    return (IntDistribution if kind is int else FloatDistribution)(first, last, log=bool(scale))


def _value(name: str, text: str) -> Any:
    """Return a value as the settings hold it."""
    return getattr(Settings.of({name: text}), name)


def range_ends(of: Range) -> tuple[Value, ...]:
    """Return the values of a range that may be too much for a setting, if any is."""
    values: tuple[Any, ...] = of.choices if hasattr(of, "choices") else (of.low, of.high)
    return values


def is_in(of: Range, value: Any) -> bool:
    """Return whether a value is in a range."""
    return value in of.choices if hasattr(of, "choices") else of.low <= value <= of.high


def range_text(of: Range) -> str:
    """Return a range as it is written, every digit of it."""
    if hasattr(of, "choices"):
        return ",".join(map(str, of.choices))
    return f"{of.low}..{of.high}{':log' if of.log else ''}"
