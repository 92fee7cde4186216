"""Parameters from a file: ``--config experiment.yaml``.

    cell: lstm
    epochs: 10
    learning_rate: 1e-3

A value is taken as the text that would be typed, a list as its values separated by commas. Typed options override the
file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pipeline.errors import UsageError, reason, suggestion
from pipeline.settings import MLFLOW_RUN_ID, expanded

DECLARED = frozenset({"cell", "cells", "recipe", "seed", "seeds"})
"""What MLproject declares of the settings: ``mlflow run`` passes it on whether it was typed or not."""


@dataclass(frozen=True)
class Configuration:
    """A file of parameters.

    Attributes:
        text: the content of the file.
        values: by the names of parameters, with underscores; switches are True or False, all else is text.
    """

    text: str
    values: Mapping[str, object]


def read(path: str) -> Configuration:
    """Return the parameters that a file holds.

    Raises:
        UsageError: it cannot be read, or is no YAML file with one value, or a list of values, per name.
    """
    import yaml

    try:
        text = expanded(Path(path)).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"config: expected a YAML file, received {path}: {problem}.") from None
    if not isinstance(content, dict):
        raise UsageError(f"config: expected lines such as `epochs: 10` in {path}, received {str(content)[:100]!r}.")
    names = {key: "on" if key is True else str(key).replace("-", "_") for key in content}  # YAML 1.1: on is true
    return Configuration(text, {names[key]: _value(names[key], value, path) for key, value in content.items()})


def _value(name: str, value: object, path: str) -> object:
    if isinstance(value, bool):
        return value
    parts: list[Any] = value if isinstance(value, list) else [value]
    if any(part is None or isinstance(part, dict | list) for part in parts):
        raise UsageError(f"{name}: expected a value or a list of values in {path}, received {str(value)[:100]!r}.")
    return ",".join(map(str, parts))


def fill_in(ctx: typer.Context, value: Configuration | None) -> Configuration | None:
    """Use the parameters of a file for those that are not typed.

    Raises:
        UsageError: one is none of the command's.
    """
    if value is None:
        return None
    known = {name_of(parameter): parameter for parameter in ctx.command.params if parameter.name != "config"}
    defaults: dict[str, object] = {}
    for name, given in value.values.items():
        if name not in known:
            hint = suggestion(name, known) or f" Known are {', '.join(sorted(known))}."
            raise UsageError(f"config: expected parameters of `{ctx.command_path}`, received {name}.{hint}")
        defaults[known[name].name] = [given] if getattr(known[name], "multiple", False) else given
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def name_of(parameter: Any) -> str:
    """Return the name of an option as a file, ``mlflow run -P`` and error messages have it: ``batch_size``."""
    return str(parameter.opts[0]).lstrip("-").replace("-", "_")


def check_declared(configuration: Configuration, given: Mapping[str, object]) -> None:
    """Check that what ``mlflow run`` passes on unasked equals the file: MLflow has logged it, and it cannot change.

    Raises:
        UsageError: the file has another value.
    """
    if MLFLOW_RUN_ID not in os.environ:
        return
    for name in sorted(DECLARED & configuration.values.keys() & given.keys()):
        value = configuration.values[name]
        if str(given[name]) != str(value):
            raise UsageError(
                f"{name}: expected {value}, as in the file of config, received {given[name]} from `mlflow run`, which "
                f"passes on its default. Add -P {name}={value}."
            )
