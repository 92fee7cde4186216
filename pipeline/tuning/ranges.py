"""Ranges of parameters as text, ``learning_rate=1e-4..1e-2:log`` or ``hidden_units=64,128,256``, and as distributions.

A number has a range from a lowest to a highest value, both included, or a list of values; any other parameter has a
list. The settings decide which values a parameter may have.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pipeline.errors import UsageError
from pipeline.settings import DATA_PARAMETERS, Settings, option

if TYPE_CHECKING:  # the command line imports this module, and Optuna takes half a second
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

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


def defaults_text() -> str:
    """Return the default ranges of each cell as text."""
    cells: dict[str, list[str]] = {}
    for cell, text in DEFAULTS.items():
        cells.setdefault(text, []).append(cell)
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in cells.items())


def parse(texts: Sequence[str]) -> "dict[str, Range]":
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
        close = get_close_matches(name, NAMES, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are {', '.join(NAMES)}."
        raise UsageError(f"range: expected a parameter, received {name!r}. {hint}")


def _range(name: str, text: str) -> "Range":
    from optuna.distributions import CategoricalDistribution

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


def _numbers(name: str, text: str, low: str, high: str, scale: str) -> "Range":
    from optuna.distributions import FloatDistribution, IntDistribution

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


def ends(of: "Range") -> tuple[Value, ...]:
    """Return the values of a range that may be too much for a setting, if any is."""
    values: tuple[Any, ...] = of.choices if hasattr(of, "choices") else (of.low, of.high)
    return values


def holds(of: "Range", value: Any) -> bool:
    """Return whether a value is in a range."""
    return value in of.choices if hasattr(of, "choices") else of.low <= value <= of.high


def text(of: "Range") -> str:
    """Return a range as it is written, every digit of it."""
    if hasattr(of, "choices"):
        return ",".join(map(str, of.choices))
    return f"{of.low}..{of.high}{':log' if of.log else ''}"
