"""Rules of the architecture: packages import only lower layers, and only some packages import slow libraries."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "pipeline"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def room_of(file: Path) -> str:
    """Return the package of a module; for a module at the root, its own name."""
    return file.parts[0] if len(file.parts) > 1 else file.stem


def imported(file: Path) -> set[str]:
    """Return the dotted names that a file imports anywhere, also only for the type checker."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(file: Path) -> set[Path]:
    """Return the modules of the package that a file imports."""
    found = set()
    for dotted in imported(file):
        top, *parts = dotted.split(".")
        if top == "pipeline":
            candidates = [Path(*parts[:end]).with_suffix(".py") for end in range(1, len(parts) + 1)]
            found |= {candidate for candidate in candidates if (PACKAGE / candidate).is_file()}
    return found


def arrows() -> dict[str, set[str]]:
    """Return the packages that each package imports."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        found.setdefault(room_of(file), set()).update(room_of(other) for other in ours(file))
    return {room: others - {room} for room, others in found.items() if room != "__init__"}


def floors(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the layers from the bottom: each package is above all packages that it imports. Fails on a cycle."""
    standing: list[set[str]] = []
    left = dict(graph)
    while left:
        below = set().union(*standing)
        floor = {room for room, others in left.items() if others <= below}
        assert floor, f"import cycle among {sorted(left)}"
        standing.append(floor)
        left = {room: others for room, others in left.items() if room not in floor}
    return standing


def test_no_room_imports_itself_on_a_way_round() -> None:
    assert len(floors(arrows())) <= 10


@pytest.mark.parametrize("package", PACKAGES)
def test_within_a_package_there_is_no_circle(package: str) -> None:
    files = [file for file in FILES if room_of(file) == package]
    floors({str(file): {str(other) for other in ours(file) if other in files} - {str(file)} for file in files})


def first_lines(package: str) -> str:
    return ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text())) or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_opens_with_what_comes_in_and_out_and_what_it_imports_and_runs_nothing(package: str) -> None:
    listed = first_lines(package).partition("Imports: ")[2].removesuffix(".")
    assert sorted(arrows()[package]) == listed.replace("\n", " ").split(", ")
    assert re.search(r"^In: .+\. Out: .+\.$", first_lines(package), re.MULTILINE)
    assert 1 == len(ast.parse((PACKAGE / package / "__init__.py").read_text()).body)


def lengths(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the functions of a module and their number of lines, including the docstring."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{file}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize(("package", "most", "each"), [("", 400, 40), ("stages", 300, 30)])
def test_modules_and_functions_stay_short(package: str, most: int, each: int) -> None:
    """Functions of stages are shorter, because they only connect packages."""
    files = [file for file in FILES if package in ("", room_of(file))]
    assert [] == [str(file) for file in files if len((PACKAGE / file).read_text().splitlines()) > most]
    assert [] == [name for file in files for name, length in lengths(file) if length > each]


def users_of(library: str) -> set[str]:
    """Return the modules that import a library."""
    return {
        file.with_suffix("").as_posix()
        for file in FILES
        if any(name.split(".")[0] == library for name in imported(file))
    }


def test_only_what_talks_to_mlflow_or_is_run_by_it_imports_it() -> None:
    rooms = {name.split("/")[0] for name in users_of("mlflow")}
    assert {"tracking", "serving"} == rooms
    assert {"serving/server"} == {name for name in users_of("mlflow") if name.startswith("serving")}


def test_tensorflow_is_for_what_trains_and_serves() -> None:
    of_training = {
        "kinds/augmentation",
        "kinds/kind",
        "kinds/sequences",
        "model/equations",
        "model/recurrence",
        "model/network",
        "model/recurrent",
        "model/cell_validation",
        "model/trainer",
    }
    assert of_training | {"startup", "tracking/scoring", "tracking/sequence_scoring"} == users_of("tensorflow")


def test_only_the_terminal_draws() -> None:
    assert {"cli/terminal", "stages/housekeeping"} == users_of("rich")  # the second only formats sizes as text


UNDOCUMENTED = ("uvicorn.protocols",)
"""Modules of dependencies that have public names but no documentation."""

DOCUMENTED = {"_asdict", "_exit", "_replace"}
"""Names that look private, but are in Python's documentation."""

TO_BE_REMOVED = {
    "serving/connections.py: uvicorn.protocols.http.h11_impl.H11Protocol",
    "serving/connections.py: uvicorn.protocols.http.h11_impl.RequestResponseCycle",
}


def private_names(tree: ast.AST) -> set[str]:
    """Return the private names that a module imports from dependencies or uses as attributes of other objects."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [f"{getattr(node, 'module', '')}.{alias.name}".removeprefix(".") for alias in node.names]
            foreign = [name for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, "pipeline"}]
            found |= {
                name for name in foreign if any(map(is_private, name.split("."))) or name.startswith(UNDOCUMENTED)
            }
        elif (
            isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) not in ("self", "cls")
        ):
            found.add(ast.unparse(node))
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def test_only_public_names_of_dependencies_are_used() -> None:
    used = {f"{file}: {name}" for file in FILES for name in private_names(ast.parse((PACKAGE / file).read_text()))}
    assert set() == used - TO_BE_REMOVED


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from mlflow.store import _initialize_tables", "mlflow.store._initialize_tables"),
        ("def f():\n import keras._internal", "keras._internal"),
        ("from uvicorn.protocols.http import h11_impl", "uvicorn.protocols.http.h11_impl"),
        ("import tensorflow as tf\nprint(tf.config._secret)", "tf.config._secret"),
        ("table: Any = untyped\ntable._secret = 1", "table._secret"),
    ],
)
def test_a_private_name_is_found(source: str, name: str) -> None:
    assert {name} == private_names(ast.parse(source))
    assert set() == private_names(ast.parse("import os, keras\nprint(os.path, keras.__version__, self._own)"))


def test_every_package_is_installed() -> None:
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {"find": {"include": ["pipeline*"]}} == packages
