"""The docs match the code: links, commands and options exist, and pages and sentences are short."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.commands import COMMANDS
from pipeline.settings import Settings
from tests.unit.test_cli import options

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(PROJECT).as_posix()
    for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("benchmarks/*.md")]
)


def text(page: str) -> str:
    return (PROJECT / page).read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub makes for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        path, _, anchor = link.partition("#")
        target = (PROJECT / page).parent / path if path else PROJECT / page
        if not link.startswith("http") and not (target.exists() and (not anchor or anchor in anchors(target))):
            lost.append(link)
    assert [] == lost


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each ``pipeline`` command in the shell blocks of a page."""
    for block in re.findall(r"```sh\n(.*?)```", text(page), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and Path(words[0]).name == "pipeline" and words[1] != "--help":
                yield words[1:]


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))])
def test_every_command_that_is_shown_exists_with_its_options(page: str) -> None:
    for name, *words in commands(page):
        known = {flag for parameter in options(name).values() for flag in parameter.opts} | {"--help"}
        assert set() == {word.partition("=")[0] for word in words if word.startswith("--")} - known


def sentences(page: str) -> list[str]:
    """Return the sentences of a page, without code, tables, headings and the addresses of links."""
    prose = re.sub(r"```.*?```|<!--.*?-->", "", text(page), flags=re.DOTALL)
    prose = re.sub(r"\]\([^)]*\)", "]", re.sub(r"^(?:[#|!].*|[-*] |\d+\. )", "\n", prose, flags=re.MULTILINE))
    return [each for block in prose.split("\n\n") for each in re.split(r"(?<=[.:;?!])\s+", " ".join(block.split()))]


def too_long(found: Iterable[str], words: int) -> list[str]:
    return [each for each in found if len(each.split()) > words]


def test_the_readme_is_read_in_four_minutes() -> None:
    assert len(text("README.md").splitlines()) <= 150
    assert [] == too_long(sentences("README.md"), 30)


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_a_page_is_short_and_so_are_its_sentences(page: str) -> None:
    by_hand = re.sub(r"<!-- (\w+) -->\n.*?<!-- end of \1 -->\n", "", text(page), flags=re.DOTALL)
    assert len(by_hand.splitlines()) <= 150
    assert [] == too_long(sentences(page), 40)


def test_no_sentence_of_a_help_text_is_long() -> None:
    texts = [command.help for command in COMMANDS.values()]
    texts += [option.help for name in COMMANDS for option in options(name).values()]
    assert [] == too_long((each for text in texts for each in re.split(r"(?<=[.:;])\s+", text)), 40)


def test_the_page_of_the_parameters_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", text("docs/parameters.md").partition("## Order of reading")[0], re.MULTILINE)
    assert {field.name for field in fields(Settings)} == set(rows)
