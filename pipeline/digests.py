"""SHA-256 digests of files, texts and code, as lower-case hexadecimal."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

SHORT = 8
"""Digits of a digest that a folder or data set name carries."""

PACKAGE = Path(__file__).parent


def of_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of the content of the file at ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def of_texts(*texts: str) -> str:
    """Return one digest of several texts, in their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def is_digest(text: str) -> bool:
    """Return whether a text is a digest as it is written here."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


@cache
def of_code(*roots: str) -> str:
    """Return one digest of modules, such as ``"data/idx.py"``, and of all that they import of this package.

    It is that of the code that runs: what it was when it was first asked for.
    """
    names = closure(*roots)
    return of_texts(*(of_file(PACKAGE / name) for name in names), *names)


def closure(*roots: str, package: Path = PACKAGE) -> list[str]:
    """Return the paths in a package of modules and of all that they import of it, however far; sorted.

    An import within a function counts; one for the type checker alone changes nothing that runs, and does not.
    """
    found, todo = set(roots), list(roots)
    while todo:
        imported = _imports(package / todo.pop(), package) - found
        found |= imported
        todo += imported
    return sorted(found)


def _imports(module: Path, package: Path) -> set[str]:
    """Return the modules of the package that a module names in its imports, as paths in it."""
    found = set[str]()
    todo: list[ast.AST] = [ast.parse(module.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package.name:
            inside = (node.module or "").removeprefix(package.name).strip(".").replace(".", "/")
            found |= {f"{inside}.py", *(f"{inside}/{alias.name}.py".lstrip("/") for alias in node.names)}
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)
    return {path for path in found if (package / path).is_file()}
