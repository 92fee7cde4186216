"""What ``docs/architecture.md`` draws and lists is what the package is: its imports, its files, what settles numbers.

After a change that was meant, it is drawn anew by ``.venv/bin/python -m tests.unit.test_architecture``.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline import digests
from pipeline.jobs import fingerprints
from tests.unit.test_structure import FILES, PACKAGE, PROJECT, arrows, floors, room_of

PAGE = PROJECT / "docs" / "architecture.md"
RENEWED_BY = f".venv/bin/python -m {__spec__.name}"
MARGIN = 18  # columns up to the end of the first room's name


def picture(graph: dict[str, set[str]]) -> str:
    """Return the rooms, floor by floor from the top, each with a line from it down to each room that it imports."""
    storeys = [sorted(floor) for floor in reversed(floors(graph))]
    rooms = [room for storey in storeys for room in storey]
    rows = {room: _row(number, rooms, graph) for number, room in enumerate(rooms)}
    return "\n".join(
        f"{len(storeys) - 1 - number if room == storey[0] else '':<3}{rows[room]}".rstrip()
        for number, storey in enumerate(storeys)
        for room in storey
    )


def _row(number: int, rooms: Sequence[str], graph: dict[str, set[str]]) -> str:
    """Return a room's name, and to the right of it a column for each room below."""
    own, above = graph[rooms[number]], set().union(*(graph[room] for room in rooms[:number]))
    end = max((rooms.index(room) for room in own), default=number)
    text = rooms[number].rjust(MARGIN + 2 * number)
    for column, room in enumerate(rooms[number + 1 :], start=number + 1):
        crossing = ("┼" if room in above else "─") if column < end else ("│" if room in above else " ")
        text += ("─" if column <= end else " ") + ("●" if room in own else crossing)
    return text


def index() -> str:
    """Return every file of code with the sentence that it opens with; marked are those that settle a fingerprint."""
    settling = set(digests.closure(*fingerprints.CODE))
    lines = ["| file | what it is | |", "| --- | --- | --- |"]
    for file in sorted(FILES, key=lambda file: (len(file.parts) > 1, file)):
        if file.name != "__init__.py":
            name = file.as_posix()
            lines.append(f"| [{name}](../pipeline/{name}) | {first_sentence(file)} | {'●' if name in settling else ''} |")
    return "\n".join(lines)


def first_sentence(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", r"\|")


def parts() -> dict[str, str]:
    """Return what the page shows between its markers, by their names."""
    return {"rooms": f"```text\n{picture(arrows())}\n```", "files": index()}


def shown(name: str) -> str:
    """Return what the page shows between the markers of that name."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end of {name} -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE.name} has no markers for {name}"
    return found[1]


@pytest.mark.parametrize("name", ["rooms", "files"])
def test_the_page_shows_the_package_as_it_is(name: str) -> None:
    assert parts()[name] == shown(name), f"Is this change meant? Then renew {PAGE.name}: {RENEWED_BY}"


def test_an_import_more_or_less_changes_the_picture() -> None:
    graph = arrows()
    drawn = {picture(graph)}
    changed = [
        graph | {room: graph[room] ^ {other}}
        for room in ("cli", "serving", "jobs")
        for other in ("cells", "records", "settings")
    ]
    drawn |= {picture(other) for other in changed}
    assert 1 + len(changed) == len(drawn)


def test_the_picture_of_a_small_house() -> None:
    house = {"roof": {"flat", "shop"}, "flat": {"shop", "cellar"}, "shop": {"cellar"}, "cellar": set[str]()}
    assert [
        "3                roof─●─●",
        "2                  flat─●─●",
        "1                    shop─●",
        "0                    cellar",
    ] == picture(house).splitlines()


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for part, content in parts().items():
        text = text.replace(shown(part), content)
    PAGE.write_text(text, encoding="utf-8")
