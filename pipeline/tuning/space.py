"""What a search tries: the ranges of its cells, around what all trials share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from pipeline import recipes
from pipeline.errors import UsageError
from pipeline.settings import Settings, option
from pipeline.tuning import ranges
from pipeline.tuning.ranges import Range, Value

Parameters = Mapping[str, Value]
"""Of a trial: the values that were chosen for it by name, the cell among them."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What there is to choose from.

    Attributes:
        cells: at least one.
        given: the parameters that all trials share, as they were given.
        ranges: of each cell, by the names of the parameters.
    """

    cells: tuple[str, ...]
    given: Mapping[str, Any]
    ranges: Mapping[str, Mapping[str, Range]]

    @property
    def names(self) -> list[str]:
        """The parameters that differ, the cell first if it does."""
        searched = dict.fromkeys(name for cell in self.cells for name in self.ranges[cell])
        return [*(["cell"] if len(self.cells) > 1 else []), *searched]

    def settings(self, parameters: Parameters) -> Settings:
        """Return the settings of a trial."""
        return recipes.resolve({**self.given, **parameters})

    def base(self, cell: str | None = None) -> Settings:
        """Return the settings that a search starts from: what is given; of the rest the recipe's, or the defaults."""
        return self.settings({"cell": cell or self.cells[0]})

    def start(self, cell: str) -> Parameters | None:
        """Return the base as a trial; None where it is outside of the ranges."""
        base = self.base(cell)
        values: dict[str, Value] = {name: getattr(base, name) for name in self.ranges[cell]}
        return {"cell": cell, **values} if all(self.ranges[cell][name].holds(values[name]) for name in values) else None

    def corners(self) -> Iterator[Parameters]:
        """Yield, of every two parameters of a cell, the ends of their ranges, in all combinations."""
        for cell in self.cells:
            of_cell = self.ranges[cell]
            for first, second in combinations([*of_cell, "cell"], 2):
                ends = of_cell[second].ends if second in of_cell else (cell,)
                for one, other in product(of_cell[first].ends, ends):
                    yield {"cell": cell, first: one, second: other}

    def text(self, name: str) -> str:
        """Return the range of a parameter as it is written, by cell where they differ."""
        if name == "cell":
            return ",".join(self.cells)
        texts = {cell: str(self.ranges[cell][name]) for cell in self.cells if name in self.ranges[cell]}
        if len(set(texts.values())) == 1 and len(texts) == len(self.cells):
            return next(iter(texts.values()))
        return "; ".join(f"{cell} {text}" for cell, text in texts.items())


def of(given: Mapping[str, Any], texts: Sequence[str]) -> Space:
    """Return what to search: the ranges that are ``texts``, or those of the cells but for what is ``given``.

    Raises:
        UsageError: a range is wrong, there is none, it is of a parameter that is given, or two of its values do not go
            together.
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


def _defaults(cell: str, shared: Mapping[str, Any]) -> dict[str, Range]:
    found = ranges.parse([ranges.DEFAULTS.get(cell, ranges.DEFAULTS["gru"])])
    return {name: each for name, each in found.items() if name not in shared}


def _cells(text: str) -> tuple[str, ...]:
    cells = [Settings.of({"cell": part.strip()}).cell for part in text.split(",")]
    if len(set(cells)) < len(cells):
        raise UsageError(f"cell: expected each cell once, received {text!r}.")
    return tuple(cells)
