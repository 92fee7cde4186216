"""Custom cells, ``my_cells:MGU``: find the module, read its file, import its class, make a layer of it.

Modules are searched for on Python's path and in the working directory. Output of the module goes to standard error;
anything it raises, even SystemExit, becomes an error that names the cell. Keras is imported only to make a layer.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import PipelineError, UsageError, first_line, suggestion

if TYPE_CHECKING:
    import keras


class Source(NamedTuple):
    """The file of a cell: its name without the folder, its bytes and their SHA-256."""

    name: str
    content: bytes
    digest: str


@cache
def source(cell: str) -> Source:
    """Return the file of a cell's module, as it was at the first call; modules that it imports are not included.

    Raises:
        UsageError: there is no such module, or it has no file.
    """
    module = cell.partition(":")[0]
    if not {"", str(Path.cwd())} & {*sys.path}:  # at the end, so that no file here replaces an installed module
        sys.path.append(str(Path.cwd()))
        importlib.invalidate_caches()
    with explained(cell, "in a module that Python finds"):
        spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(
            f"cell: {cell} must be in a Python file in the working directory, {Path.cwd()}, or in an installed "
            f"package; there is none. Change to the folder of {module.replace('.', '/')}.py, or install the package."
        )
    content = Path(spec.origin).read_bytes()
    return Source(Path(spec.origin).name, content, hashlib.sha256(content).hexdigest())


@cache
def load(cell: str) -> type:
    """Return the class of a cell.

    Raises:
        UsageError: there is no such class, or its module cannot be imported.
    """
    file = source(cell).name
    module, _, name = cell.partition(":")
    with explained(cell, "in a module that can be imported"):
        members = vars(importlib.import_module(module))
    kind = members.get(name)
    if isinstance(kind, type):
        return kind
    classes = [each for each, value in members.items() if isinstance(value, type) and value.__module__ == module]
    hint = suggestion(name, classes) or f" Its classes: {', '.join(classes) or 'none'}."
    raise UsageError(f"cell: there is no class {name} in {file}.{hint}")


def layer(cell: str, units: int, *, sequences: bool, bidirectional: bool, name: str) -> "keras.layers.Layer":
    """Return a layer of a cell: (B, T, I) → (B, T, D·U) if ``sequences``, else (B, D·U).

    Raises:
        UsageError: its class is neither a recurrent layer nor a cell, or cannot be created with these arguments.
    """
    import keras

    kind = load(cell)
    required = (
        f"a cell, made with units={units}, with state_size and call(inputs, states), or a recurrent Keras layer, made "
        "with return_sequences too (docs/cells.md shows one)"
    )
    with explained(cell, required):
        if any("return_sequences" in inspect.signature(each).parameters for each in kind.__mro__[:-1]):
            layer = kind(units=units, return_sequences=sequences)
        else:
            layer = keras.layers.RNN(kind(units=units), return_sequences=sequences)
    if not bidirectional:
        return layer
    required = "a layer with go_backwards (also in get_config), as direction=bidirectional requires; a cell has none"
    with explained(cell, required), keras.saving.custom_object_scope({kind.__name__: kind}):
        return keras.layers.Bidirectional(layer, name=name)


@contextmanager
def explained(cell: str, required: str) -> Iterator[None]:
    """Turn anything the code of a cell raises, SystemExit included, into an error with the line in the cell's file.

    Args:
        cell: its name.
        required: description of a valid cell, such as "a layer that can be built".

    Raises:
        UsageError: the block raised an exception.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except PipelineError:
        raise
    except (Exception, SystemExit) as error:
        bold = re.search("\x1b\\[1m(.+?)\x1b\\[0m", str(error))  # Keras's messages have the reason in bold
        reason = bold[1] if bold else first_line(error) if isinstance(error, Exception) else str(error)
        file = cell.partition(":")[0].rpartition(".")[2] + ".py"
        frames = traceback.extract_tb(error.__traceback__)
        line = [f" ({file}, line {frame.lineno})" for frame in frames if Path(frame.filename).name == file]
        raise UsageError(
            f"cell: {cell} must be {required}; got {type(error).__name__}: {reason.rstrip('.')}{''.join(line[-1:])}."
        ) from error
