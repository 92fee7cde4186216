"""Ranges of parameters, as a person writes them: ``learning_rate=1e-4..1e-2:log``, ``hidden_units=64,128,256``.

A number has a range from a lowest to a highest value, both of them included, or a list of values; anything else has a
list. What a value may be, the settings say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from pipeline.errors import UsageError
from pipeline.settings import DATA_PARAMETERS, Settings, option

Value = int | float | str

EXAMPLES = "learning_rate=1e-4..1e-2:log, hidden_units=64,128,256 or dropout=0..0.5"

_GATED = "learning_rate=3e-4..1e-2:log hidden_units=64,128,256 dropout=0..0.5 batch_size=64,128,256"

DEFAULTS: Mapping[str, str] = {
    "rnn": "learning_rate=1e-4..3e-3:log hidden_units=64,128,256 clip_norm=0,0.3,1,3 initializer=orthogonal,identity",
    "lstm": _GATED,
    "gru": _GATED,
}
"""What is searched of a cell unless told; of a cell that is not here, what is searched of a GRU."""

TRIALS = 30
"""Of a search that is told neither how many nor how long."""

MOST_TRIALS, MOST_SEEDS = 200, 20
"""Trials of a search, and seeds that confirm it: MLflow does not take the ids of more trainings into one tag."""

SHARED = {
    "cell": "several of them are given by commas: " + option("cell", "gru,lstm"),
    "seed": "a seed that does well is luck, and all trials share one",
    "epochs": "all trials have as many; a bad one is ended early",
    "shards": "it changes the seconds and the last bits, not what is learned",
    "recipe": "it is a name for values of the others",
    **dict.fromkeys(DATA_PARAMETERS, "all trials share their data"),
}
"""The parameters that are not searched, and why."""

NAMES = tuple(field.name for field in fields(Settings) if field.name not in SHARED)
"""The parameters that can be searched."""

_BETWEEN = re.compile(r"[\s;,]+(?=\w+=)")  # two ranges in one text


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """All numbers between two.

    Attributes:
        low: the lowest.
        high: the highest.
        log: whether 1 to 10 is as far as 10 to 100.
    """

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether they are whole numbers."""
        return isinstance(self.low, int)

    @property
    def ends(self) -> tuple[Value, ...]:
        """What may be too much for a setting, if anything is."""
        return self.low, self.high

    def holds(self, value: object) -> bool:
        """Return whether a value is among them."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A few values.

    Attributes:
        values: at least two.
    """

    values: tuple[Value, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """What may be too much for a setting, if anything is."""
        return self.values

    def holds(self, value: object) -> bool:
        """Return whether a value is among them."""
        return value in self.values

    def __str__(self) -> str:
        """Return it as it is written."""
        return ",".join(map(str, self.values))


Range = Numbers | Choice


def defaults_text() -> str:
    """Return what is searched of each cell unless told."""
    cells: dict[str, list[str]] = {}
    for cell, text in DEFAULTS.items():
        cells.setdefault(text, []).append(cell)
    return "; ".join(f"of {' and '.join(names)} {text}" for text, names in cells.items())


def parse(texts: Sequence[str]) -> dict[str, Range]:
    """Return ranges by the names of their parameters; a text may hold several, parted by spaces, ; or commas.

    Raises:
        UsageError: one is not written as a range is, of no parameter that can be searched, or holds a value that the
            parameter does not take.
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
        close = get_close_matches(name, NAMES, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are {', '.join(NAMES)}."
        raise UsageError(f"range: expected a parameter, received {name!r}. {hint}")


def _range(name: str, text: str) -> Range:
    numbers, _, scale = text.partition(":")
    low, dots, high = (piece.strip() for piece in numbers.partition(".."))
    if dots:
        return _numbers(name, text, low, high, scale.strip())
    if scale:
        raise UsageError(f"range: expected :{scale} behind two numbers, as in {name}=1..10:log, received {text!r}.")
    values = [_value(name, part.strip()) for part in text.split(",") if part.strip()]
    if len(set(values)) < max(2, len(values)):
        raise UsageError(
            f"range: expected at least two values of {name}, each once, received {text!r}. "
            f"A single one is given as {option(name)}."
        )
    return Choice(values=tuple(values))


def _numbers(name: str, text: str, low: str, high: str, scale: str) -> Numbers:
    if get_type_hints(Settings)[name] not in (int, float):
        choices = ",".join(map(str, get_args(get_type_hints(Settings)[name])))
        raise UsageError(f"range: expected some of its values for {name}, {choices}, received the range {text!r}.")
    if scale not in ("", "log"):
        raise UsageError(f"range: expected :log or nothing behind the numbers of {name}, received {text!r}.")
    if not low or not high:
        raise UsageError(f"range: expected a lowest and a highest value of {name}, as in 1..10, received {text!r}.")
    ends = Numbers(low=_value(name, low), high=_value(name, high), log=scale == "log")
    if ends.low >= ends.high:
        raise UsageError(f"range: expected a range of {name} that ascends, received {text!r}.")
    if ends.log and ends.low <= 0:
        raise UsageError(
            f"range: expected a logarithmic range of {name} that begins above 0, received {text!r}. "
            "Begin with a small number, or leave :log out."
        )
    return ends


def _value(name: str, text: str) -> Any:
    """Return a value as the settings take it."""
    return getattr(Settings.of({name: text}), name)
