"""The search space: the ranges of each cell, around the parameters that all trials share."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from pipeline import recipes
from pipeline.errors import UsageError
from pipeline.settings import Settings, option
from pipeline.tuning import ranges
from pipeline.tuning.ranges import Value

if TYPE_CHECKING:
    import optuna

    from pipeline.tuning.ranges import Range

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
    ranges: "Mapping[str, Mapping[str, Range]]"

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
        return {"cell": cell, **values} if all(ranges.holds(of_cell[name], values[name]) for name in values) else None

    def corners(self) -> Iterator[Parameters]:
        """Yield, for every two parameters of a cell, the ends of their ranges in all combinations."""
        for cell in self.cells:
            ends = {name: ranges.ends(each) for name, each in self.ranges[cell].items()} | {"cell": (cell,)}
            for first, second in combinations(ends, 2):
                for one, other in product(ends[first], ends[second]):
                    yield {"cell": cell, first: one, second: other}

    def text(self, name: str) -> str:
        """Return the range of a parameter as it is written, by cell if they differ."""
        if name == "cell":
            return ",".join(self.cells)
        texts = {cell: ranges.text(self.ranges[cell][name]) for cell in self.cells if name in self.ranges[cell]}
        if len(set(texts.values())) == 1 and len(texts) == len(self.cells):
            return next(iter(texts.values()))
        return "; ".join(f"{cell} {text}" for cell, text in texts.items())

    def distributions(self, cell: str) -> "dict[str, optuna.distributions.BaseDistribution]":
        """Return the ranges of a cell by the names that they have in a study.

        A parameter whose range is not the same for all cells has the cell in its name there.
        """
        return {self.key(cell, name): each for name, each in self.ranges[cell].items()}

    def key(self, cell: str, name: str) -> str:
        """Return the name of a parameter in a study."""
        same = all(self.ranges[other].get(name) == self.ranges[cell][name] for other in self.cells)
        return name if same else f"{cell}.{name}"

    def propose(self, asked: "optuna.Trial") -> Parameters:
        """Return the parameters that a study proposes, each as a number that is easy to read and to type."""
        cell = str(asked.suggest_categorical("cell", self.cells)) if len(self.cells) > 1 else self.cells[0]
        found: dict[str, Any] = {"cell": cell}
        for name, each in self.ranges[cell].items():
            key = self.key(cell, name)
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
    told = ranges.parse(texts)
    if both := sorted(told.keys() & shared.keys()):
        raise UsageError(
            f"{both[0]}: expected a value or a range, received both. Leave out {option(both[0])} or its range."
        )
    of_cells = {cell: told or _defaults(cell, shared) for cell in cells}
    if not any(of_cells.values()):
        raise UsageError(f"range: expected at least one parameter to search, received none: {ranges.EXAMPLES}.")
    space = Space(cells=cells, given=shared, ranges=of_cells)
    for corner in space.corners():
        space.settings(corner)
    return space


def _defaults(cell: str, shared: Mapping[str, Any]) -> "dict[str, Range]":
    found = ranges.parse([ranges.DEFAULTS.get(cell, ranges.DEFAULTS["gru"])])
    return {name: each for name, each in found.items() if name not in shared}


def _cells(text: str) -> tuple[str, ...]:
    cells = [Settings.of({"cell": part.strip()}).cell for part in text.split(",")]
    if len(set(cells)) < len(cells):
        raise UsageError(f"cell: expected each cell once, received {text!r}.")
    return tuple(cells)
