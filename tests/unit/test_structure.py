"""Rules of the architecture: packages import only lower layers, and only some packages import slow libraries."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "pipeline"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def package_of(file: Path) -> str:
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


def package_imports() -> dict[str, set[str]]:
    """Return the packages that each package imports."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        found.setdefault(package_of(file), set()).update(package_of(other) for other in ours(file))
    return {package: imports - {package} for package, imports in found.items() if package != "__init__"}


def layers(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the layers from the bottom: each package is above all packages that it imports. Fails on a cycle."""
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    found: list[set[str]] = []
    while sorter:
        found.append(set(sorter.get_ready()))
        sorter.done(*found[-1])
    return found


def test_packages_import_only_lower_layers() -> None:
    assert len(layers(package_imports())) <= 10


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_of_a_package_have_no_import_cycle(package: str) -> None:
    files = [file for file in FILES if package_of(file) == package]
    layers({str(file): {str(other) for other in ours(file) if other in files} - {str(file)} for file in files})


def docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_only_a_docstring_with_its_inputs_outputs_and_imports(package: str) -> None:
    file = Path(package, "__init__.py")
    listed = docstring(file).partition("Imports: ")[2].removesuffix(".")
    assert sorted(package_imports()[package]) == listed.replace("\n", " ").split(", ")
    assert re.search(r"^In: .+\. Out: .+\.$", docstring(file), re.MULTILINE)
    assert 1 == len(ast.parse((PACKAGE / file).read_text()).body)


@pytest.mark.parametrize(("package", "module_limit", "function_limit"), [("", 400, 40), ("stages", 300, 30)])
def test_modules_and_functions_are_short(package: str, module_limit: int, function_limit: int) -> None:
    """Functions of stages are shorter, because they only connect packages."""
    too_long = []
    for file in FILES:
        if package in ("", package_of(file)):
            source = (PACKAGE / file).read_text()
            if len(source.splitlines()) > module_limit:
                too_long.append(str(file))
            too_long += [
                f"{file}:{node.name}"
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and (node.end_lineno or 0) - node.lineno >= function_limit
            ]
    assert [] == too_long


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("mlflow", {"tracking", "server"}),
        ("tensorflow", {"kinds", "model", "startup", "scoring"}),
        ("rich", {"terminal", "housekeeping"}),  # the second only formats sizes as text
    ],
)
def test_only_some_packages_and_modules_import_a_library(library: str, places: set[str]) -> None:
    users = [file for file in FILES if any(name.split(".")[0] == library for name in imported(file))]
    assert [] == [file for file in users if not {package_of(file), file.stem} & places]


def test_only_public_modules_of_dependencies_are_imported() -> None:
    """Ruff (SLF001) finds private attributes; it does not look into import statements."""
    foreign = {f"{file}: {name}" for file in FILES for name in imported(file) if not name.startswith("pipeline.")}
    assert {name for name in foreign if re.search(r"[ .]_(?!_)|uvicorn\.protocols", name)} == set()
