"""Parameters from a file: ``--config experiment.yaml``.

    cell: lstm
    epochs: 10
    learning_rate: 1e-3

A value is taken as the text that would be typed, a list as its values parted by
commas. What is typed beside the file wins.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from pipeline.errors import UsageError, reason
from pipeline.settings import expanded

DECLARED = frozenset({"cell", "cells", "recipe", "seed", "seeds"})
"""What MLproject declares of the settings: ``mlflow run`` hands it on whether it was typed or not."""


@dataclass(frozen=True)
class Configuration:
    """A file of parameters.

    Attributes:
        text: as it stands in the file.
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
        content = _loader(yaml)(text).get_single_data()
    except (OSError, UnicodeDecodeError) as error:
        said = reason(error) if isinstance(error, OSError) else "bytes that are no text"
        raise UsageError(f"config: expected a YAML file, received {path}: {said}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split()) or "too many levels"
        raise UsageError(f"config: expected a YAML file, received {path}: {said}.") from None
    if not isinstance(content, dict):
        raise UsageError(f"config: expected lines such as `epochs: 10` in {path}, received {_shortened(content)}.")
    values: dict[str, object] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name in values:
            raise UsageError(f"config: expected each parameter once in {path}, received {name} twice.")
        values[name] = _value(name, value, path)
    return Configuration(text, values)


def _loader(yaml: Any) -> Any:
    """Return a loader that leaves every number and date as the text that it is: 1e-3, 007, 2026-01-01."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own name
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null", ":merge"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            """Refuse a name that stands there twice, of which PyYAML would take the last."""
            names = [str(key.value) for key, _ in node.value]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise yaml.constructor.ConstructorError(problem=f"{twice} stands there twice")
            return super().construct_mapping(node, deep)

    return Loader


def _value(name: str, value: object, path: str) -> object:
    if isinstance(value, bool):
        return value
    parts: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise UsageError(f"{name}: expected a value or a list of values in {path}, received {_shortened(value)}.")
    return ",".join(parts)


def _shortened(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) < 100 else f"{text[:100]}…"  # noqa: PLR2004


def fill_in(ctx: typer.Context, value: Configuration | None) -> Configuration | None:
    """Let the parameters of a file stand in for those that are not typed.

    Raises:
        UsageError: one is none of the command's.
    """
    if value is None:
        return None
    known = {parameter.name for parameter in ctx.command.params} - {"config"}
    several = {parameter.name for parameter in ctx.command.params if getattr(parameter, "multiple", False)}
    for name in value.values:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" Known are {', '.join(sorted(known))}."
            raise UsageError(f"config: expected parameters of `{ctx.command_path}`, received {name}.{hint}")
    values = {name: [given] if name in several else given for name, given in value.values.items()}
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return value


def check_declared(configuration: Configuration, given: Mapping[str, object]) -> None:
    """Check that what ``mlflow run`` hands on untold is what the file says: it is logged by then, and cannot change.

    Raises:
        UsageError: the file says otherwise.
    """
    if "MLFLOW_RUN_ID" not in os.environ:
        return
    for name in sorted(DECLARED & configuration.values.keys() & given.keys()):
        value = configuration.values[name]
        if str(given[name]) != str(value):
            raise UsageError(
                f"{name}: expected {value}, as in the file of config, received {given[name]} from `mlflow run`, which "
                f"hands on its default unless told. Add -P {name}={value}."
            )
