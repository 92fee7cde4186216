"""The generated parts of ``docs/architecture.md`` match the code: imports, packages, files and fingerprint.

``.venv/bin/python -m tests.unit.test_architecture`` regenerates them after an intended change.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline import disk
from pipeline.training import identity
from tests.unit.test_structure import FILES, PACKAGES, PROJECT, docstring, layers, package_imports

PAGE = PROJECT / "docs" / "architecture.md"
REGENERATE = ".venv/bin/python -m tests.unit.test_architecture"
MARGIN = 18  # columns up to the end of the first package's name


def picture(graph: dict[str, set[str]]) -> str:
    """Return the packages, layer by layer from the top, each with a line down to each package that it imports."""
    from_bottom = [sorted(layer) for layer in layers(graph)]
    names = [package for layer in reversed(from_bottom) for package in layer]
    labels = {layer[0]: number for number, layer in enumerate(from_bottom)}
    rows = (f"{labels.get(package, ''):<3}{_row(row, names, graph)}" for row, package in enumerate(names))
    return "\n".join(row.rstrip() for row in rows)


def _row(row: int, packages: Sequence[str], graph: dict[str, set[str]]) -> str:
    """Return the name of a package, with a column for each package below to the right of it."""
    own, above = graph[packages[row]], set().union(*(graph[package] for package in packages[:row]))
    end = max((packages.index(package) for package in own), default=row)
    text = packages[row].rjust(MARGIN + 2 * row)
    for column, package in enumerate(packages[row + 1 :], start=row + 1):
        crossing = ("┼" if package in above else "─") if column < end else ("│" if package in above else " ")
        text += ("─" if column <= end else " ") + ("●" if package in own else crossing)
    return text


def packages() -> str:
    """Return a row per package, from the top layer, with the first lines of its docstring."""
    lines = ["| package | what it does | in | out |", "| --- | --- | --- | --- |"]
    for layer in reversed(layers(package_imports())):
        for package in sorted(layer & set(PACKAGES)):
            file = Path(package, "__init__.py")
            [(inputs, outputs)] = re.findall(r"^In: (.+)\. Out: (.+)\.$", docstring(file), re.MULTILINE)
            lines.append(f"| `{package}/` | {first_sentence(file)} | {inputs} | {outputs} |")
    return "\n".join(lines)


def index() -> str:
    """Return a row per file with the first sentence of its docstring, and a mark for files of the fingerprint."""
    of_fingerprint = set(disk.imported_modules(*identity.CODE))
    lines = ["| file | what it is | |", "| --- | --- | --- |"]
    for file in sorted(FILES, key=lambda file: (len(file.parts) > 1, file)):
        if file.name != "__init__.py":
            name = file.as_posix()
            mark = "●" if name in of_fingerprint else ""
            lines.append(f"| [{name}](../pipeline/{name}) | {first_sentence(file)} | {mark} |")
    return "\n".join(lines)


def first_sentence(file: Path) -> str:
    return " ".join(docstring(file).partition("\n\n")[0].split()).replace("|", r"\|").replace("``", "`")


def parts() -> dict[str, str]:
    """Return the generated parts of the page, by the names of their markers."""
    return {"layers": f"```text\n{picture(package_imports())}\n```", "packages": packages(), "files": index()}


def regenerated(page: str) -> str:
    """Return the text of the page with its generated parts replaced."""
    for name, content in parts().items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->\n")
        assert all((begin, end)), f"{PAGE.name} has no markers for {name}"
        page = f"{before}{begin}{content}\n{end}{after}"
    return page


def test_the_page_matches_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert regenerated(page) == page, f"If this change is intended, regenerate {PAGE.name}: {REGENERATE}"


def test_the_picture_of_four_packages() -> None:
    graph = {"cli": {"stages", "data"}, "stages": {"data", "disk"}, "data": {"disk"}, "disk": set[str]()}
    assert [
        "3                 cli─●─●",
        "2                stages─●─●",
        "1                    data─●",
        "0                      disk",
    ] == picture(graph).splitlines()


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
