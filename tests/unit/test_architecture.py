"""The generated parts of ``docs/architecture.md`` match the code: imports, packages, files and fingerprint.

``.venv/bin/python -m tests.unit.test_architecture`` regenerates them after an intended change.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline import disk
from pipeline.training import identity
from tests.unit.test_structure import FILES, PACKAGE, PACKAGES, PROJECT, arrows, first_lines, floors

PAGE = PROJECT / "docs" / "architecture.md"
RENEWED_BY = ".venv/bin/python -m tests.unit.test_architecture"
MARGIN = 18  # columns up to the end of the first package's name


def picture(graph: dict[str, set[str]]) -> str:
    """Return the packages, layer by layer from the top, each with a line down to each package that it imports."""
    storeys = [sorted(floor) for floor in reversed(floors(graph))]
    rooms = [room for storey in storeys for room in storey]
    rows = {room: _row(number, rooms, graph) for number, room in enumerate(rooms)}
    return "\n".join(
        f"{len(storeys) - 1 - number if room == storey[0] else '':<3}{rows[room]}".rstrip()
        for number, storey in enumerate(storeys)
        for room in storey
    )


def _row(number: int, rooms: Sequence[str], graph: dict[str, set[str]]) -> str:
    """Return the name of a package, with a column for each package below to the right of it."""
    own, above = graph[rooms[number]], set().union(*(graph[room] for room in rooms[:number]))
    end = max((rooms.index(room) for room in own), default=number)
    text = rooms[number].rjust(MARGIN + 2 * number)
    for column, room in enumerate(rooms[number + 1 :], start=number + 1):
        crossing = ("┼" if room in above else "─") if column < end else ("│" if room in above else " ")
        text += ("─" if column <= end else " ") + ("●" if room in own else crossing)
    return text


def packages() -> str:
    """Return a row per package, from the top layer, with the first lines of its docstring."""
    lines = ["| package | what it does | in | out |", "| --- | --- | --- | --- |"]
    for floor in reversed(floors(arrows())):
        for package in sorted(floor & set(PACKAGES)):
            said = re.search(r"^In: (.+)\. Out: (.+)\.$", first_lines(package), re.MULTILINE)
            assert said
            lines.append(f"| `{package}/` | {first_sentence(Path(package, '__init__.py'))} | {said[1]} | {said[2]} |")
    return "\n".join(lines)


def index() -> str:
    """Return a row per file with the first sentence of its docstring, and a mark for files of the fingerprint."""
    settling = set(disk.imported_modules(*identity.CODE))
    lines = ["| file | what it is | |", "| --- | --- | --- |"]
    for file in sorted(FILES, key=lambda file: (len(file.parts) > 1, file)):
        if file.name != "__init__.py":
            name = file.as_posix()
            mark = "●" if name in settling else ""
            lines.append(f"| [{name}](../pipeline/{name}) | {first_sentence(file)} | {mark} |")
    return "\n".join(lines)


def first_sentence(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", r"\|").replace("``", "`")


def parts() -> dict[str, str]:
    """Return the generated parts of the page, by the names of their markers."""
    return {"rooms": f"```text\n{picture(arrows())}\n```", "packages": packages(), "files": index()}


def renewed(page: str) -> str:
    """Return the text of the page with its generated parts replaced."""
    for name, content in parts().items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->\n")
        assert begin, f"{PAGE.name} has no marker for {name}"
        assert end, f"{PAGE.name} has no marker for {name}"
        page = f"{before}{begin}{content}\n{end}{after}"
    return page


def test_the_page_shows_the_package_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, f"If this change is intended, regenerate {PAGE.name}: {RENEWED_BY}"


def test_the_picture_of_a_small_house() -> None:
    house = {"roof": {"flat", "shop"}, "flat": {"shop", "cellar"}, "shop": {"cellar"}, "cellar": set[str]()}
    assert [
        "3                roof─●─●",
        "2                  flat─●─●",
        "1                    shop─●",
        "0                    cellar",
    ] == picture(house).splitlines()


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
