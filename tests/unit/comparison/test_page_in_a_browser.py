"""The page in a browser: its script copies tables, and hints at those that are wider than the screen."""

import html
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Page, expect, sync_playwright

from pipeline.comparison import page as pages
from pipeline.comparison import tables
from pipeline.comparison.report_data import Contents
from tests.unit.result_fixtures import summary_of, three_groups

CHROMIUM = shutil.which("chromium")
FRAMED = """<iframe sandbox="allow-scripts" width="900" height="700" srcdoc="{page}"></iframe>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs a chromium on the PATH, such as Debian's package of that name")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(pages.render(Contents(groups=three_groups(), class_names=["a", "b", "c"])), encoding="utf-8")
    return file


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        yield context.new_page()


def framed(page: Page, file: Path) -> Frame:
    """Open the page as MLflow's UI does: in a frame that may run scripts and nothing else."""
    outer = file.with_name("outer.html")
    content = html.escape(file.read_text(encoding="utf-8"))
    outer.write_text(FRAMED.format(page=content), encoding="utf-8")
    page.goto(outer.as_uri())
    frame = page.frames[-1]
    frame.wait_for_load_state()
    return frame


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_table_is_copied(page: Page, file: Path) -> None:
    page.goto(file.as_uri())
    page.locator("#summary").get_by_role("button", name="Copy as Markdown").click()
    expect(page.locator("#summary").get_by_role("button", name="Copied")).to_be_visible()
    assert tables.as_text(tables.readable_summary(three_groups()), "markdown") == copied(page)


def test_a_table_is_copied_in_the_frame_of_mlflows_ui(page: Page, file: Path) -> None:
    frame = framed(page, file)
    frame.locator("#runs").get_by_role("button", name="Copy as CSV").click()
    expect(frame.locator("#runs").get_by_role("button", name="Copied")).to_be_visible()
    page.goto(file.as_uri())  # the frame may not read what it has copied
    assert tables.runs_table(three_groups()).to_csv(index=False) == copied(page)


def test_where_nothing_may_be_copied_the_text_is_shown_and_marked(page: Page, file: Path) -> None:
    page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false;"
    )
    page.goto(file.as_uri())
    page.locator("#summary").get_by_role("button", name="Copy as CSV").click()
    box = page.locator("#summary textarea")
    expect(box).to_be_visible()
    assert summary_of(three_groups()).to_csv(index=False) == box.input_value()
    marked = "[...document.querySelectorAll('textarea')].map(box => [box.selectionStart, box.selectionEnd])"
    assert [[0, len(box.input_value())]] == page.evaluate(marked)


def test_without_a_script_no_button_promises_anything(browser: Browser, file: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        expect(page.get_by_role("button")).to_have_count(0)
        expect(page.get_by_role("heading", name="Summary")).to_be_visible()


@pytest.mark.parametrize("width", [390, 800, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_without_a_hint(browser: Browser, file: Path, width: int, scheme: str) -> None:
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = "[...document.querySelectorAll('.scroll')]"
        page.wait_for_function(f"{boxes}.every(box => box.scrollWidth > box.clientWidth + 1 == box.matches('.cut'))")
        sections = page.evaluate(
            f"{boxes}.filter(box => box.matches('.cut')).map(box => box.closest('section[id]').id)"
        )
        assert ({"summary", "time"} <= set(sections)) == (width == 390)
        assert {"summary", "time", "runs"} >= set(sections)
