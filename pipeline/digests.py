"""SHA-256 digests of files, texts and code, as lower-case hexadecimal."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

SHORT = 8
"""Number of digits of a digest in the name of a folder or data set."""

PACKAGE = Path(__file__).parent


def of_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of the content of the file at ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def of_texts(*texts: str) -> str:
    """Return one digest of several texts, in their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def is_digest(text: str) -> bool:
    """Return whether a text has the form of a digest."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


@cache
def of_code(*roots: str) -> str:
    """Return one digest of modules, such as ``"data/idx.py"``, and of everything that they import from this package.

    It is computed once, so that it describes the running code even if a file changes later.
    """
    names = closure(*roots)
    return of_texts(*(of_file(PACKAGE / name) for name in names), *names)


def closure(*roots: str, package: Path = PACKAGE) -> list[str]:
    """Return the paths of modules and of everything that they import from a package, directly or indirectly; sorted.

    Imports within functions count. Imports for the type checker do not: they change nothing at run time.
    """
    found, todo = set(roots), list(roots)
    while todo:
        imported = _imports(package / todo.pop(), package) - found
        found |= imported
        todo += imported
    return sorted(found)


def _imports(module: Path, package: Path) -> set[str]:
    """Return the paths of the modules that a module of the package imports from it."""
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
