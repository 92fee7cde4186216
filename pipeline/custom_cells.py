"""A cell of one's own, ``my_cells:MGU``: where its class is found, what its file holds, how it is imported.

It is looked for where Python finds modules and in the working directory. Nothing here imports Keras, and nothing is
imported before a cell of one's own is named. What the module prints goes to standard error; whatever it raises, also
to end the process, is an error that names it.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError, UsageError, first_line


class Source(NamedTuple):
    """The file of a cell: its name without its folder, its bytes, and their SHA-256."""

    name: str
    content: bytes
    digest: str


@cache
def source(cell: str) -> Source:
    """Return the file of the module that a cell names: as it was when it was first asked for, as the module is then.

    What that module imports is not part of it.

    Raises:
        UsageError: there is no such module, or it has no file.
    """
    module = cell.partition(":")[0]
    _look_here()
    with explained(cell, "a module that is found"):
        spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        found = "no such module" if spec is None else "one without a file"
        raise UsageError(
            f"cell: expected {cell} to name a module in the working directory, {Path.cwd()}, or in an installed "
            f"package, found {found}. Go to the folder of {module.replace('.', '/')}.py, or install the package."
        )
    content = Path(spec.origin).read_bytes()
    return Source(Path(spec.origin).name, content, hashlib.sha256(content).hexdigest())


@cache
def load(cell: str) -> type:
    """Return the class that a cell names.

    Raises:
        UsageError: there is none, or its module cannot be imported.
    """
    file = source(cell).name
    module, _, name = cell.partition(":")
    with explained(cell, "a module that can be imported"):
        holds = vars(importlib.import_module(module))
    kind = holds.get(name)
    if isinstance(kind, type):
        return kind
    classes = [each for each, value in holds.items() if isinstance(value, type) and value.__module__ == module]
    close = get_close_matches(name, classes, n=1)
    hint = f"Did you mean {module}:{close[0]}?" if close else f"Its classes are: {', '.join(classes) or 'none'}."
    found = "none" if kind is None else f"something else, of type {type(kind).__name__}"
    raise UsageError(f"cell: expected a class {name} in {file}, found {found}. {hint}")


@contextmanager
def explained(cell: str, expected: str) -> Iterator[None]:
    """Turn whatever the code of a cell raises, SystemExit included, into an error that says where that was.

    Args:
        cell: as it was named.
        expected: of it, such as "a layer that can be built".

    Raises:
        UsageError: the block has raised something.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except PipelineError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"cell: expected {cell} to be {expected}, received {type(error).__name__}: {_said(error)}"
            f"{_place(cell, error)}."
        ) from error


def _said(error: BaseException) -> str:
    """Return what is wrong, in a line: Keras says first where it was, then, in bold, what."""
    if bold := re.search("\x1b\\[1m(.+?)\x1b\\[0m", str(error)):
        return bold[1].rstrip(".")
    return (first_line(error) if isinstance(error, Exception) else str(error)).rstrip(".")


def _place(cell: str, error: BaseException) -> str:
    """Return the line of the cell's own file that an error came through, if it did."""
    file = cell.partition(":")[0].rpartition(".")[2] + ".py"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == file]
    return f" ({file}, line {lines[-1]})" if lines else ""


def _look_here() -> None:
    """Let modules of the working directory be found, after all others: none takes the place of an installed one."""
    if not {"", str(Path.cwd())} & {*sys.path}:
        sys.path.append(str(Path.cwd()))
        importlib.invalidate_caches()
