"""The generated parts of ``docs/architecture.md`` match the code: imports, packages, files and fingerprint.

``.venv/bin/python -m tests.unit.test_architecture`` regenerates them after an intended change.
"""

import re
from pathlib import Path

from pipeline import disk
from pipeline.training import identity
from tests.unit.test_structure import FILES, PACKAGES, PROJECT, docstring, layers, package_imports

PAGE = PROJECT / "docs" / "architecture.md"
REGENERATE = ".venv/bin/python -m tests.unit.test_architecture"


def imports(graph: dict[str, set[str]]) -> str:
    """Return a row per package, from the top layer: its layer, its name, and what it imports."""
    rows = [
        (layer, package) for layer, packages in enumerate(layers(graph)) for package in sorted(packages, reverse=True)
    ]
    return "\n".join(
        f"{layer}  {package:<12}{', '.join(sorted(graph[package]))}".rstrip() for layer, package in rows[::-1]
    )


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
    of_fingerprint = set(disk.modules(*identity.CODE))
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
    return {"layers": f"```text\n{imports(package_imports())}\n```", "packages": packages(), "files": index()}


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


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
