"""The page in a browser: its script copies tables, and hints at those that are wider than the screen."""

import html
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from pipeline.comparison import charts, report, report_data
from pipeline.comparison.report_data import ReportData
from tests.unit.result_fixtures import three_groups

DATA = ReportData(groups=three_groups())
FRAMED = """<iframe sandbox="allow-scripts" width="900" height="700" srcdoc="{page}"></iframe>"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(report.render(DATA, charts.drawn(DATA)), encoding="utf-8")
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
    assert report_data.as_text(DATA.readable(), "markdown") == copied(page)


def test_a_table_is_copied_in_the_frame_of_mlflows_ui(page: Page, file: Path) -> None:
    frame = framed(page, file)
    frame.locator("#runs").get_by_role("button", name="Copy as CSV").click()
    expect(frame.locator("#runs").get_by_role("button", name="Copied")).to_be_visible()
    page.goto(file.as_uri())  # the frame may not read what it has copied
    assert DATA.runs().to_csv(index=False) == copied(page)


def test_where_nothing_may_be_copied_the_text_is_shown_and_marked(page: Page, file: Path) -> None:
    page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false;"
    )
    page.goto(file.as_uri())
    page.locator("#summary").get_by_role("button", name="Copy as CSV").click()
    box = page.locator("#summary textarea")
    expect(box).to_be_visible()
    assert DATA.summary().to_csv(index=False) == box.input_value()
    marked = "[...document.querySelectorAll('textarea')].map(box => [box.selectionStart, box.selectionEnd])"
    assert [[0, len(box.input_value())]] == page.evaluate(marked)


def test_without_a_script_no_button_promises_anything(browser: Browser, file: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        expect(page.get_by_role("button")).to_have_count(0)
        expect(page.get_by_role("heading", name="Summary")).to_be_visible()


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const layers = element =>
    element ? [...layers(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  const light = colours => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = element => {
    const style = getComputedStyle(element), back = layers(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [low, high] = [light(back), light([...back, ink])].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const worded = e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && e.getClientRects().length;
  const words = [...document.querySelectorAll("body *:not(script)")].filter(worded);
  return words.filter(e => contrast(e) < 4.5).map(e => `${e.tagName} ${e.className} ${contrast(e)} ${e.textContent}`);
}"""
LETTERS = """() => [...document.querySelectorAll("svg text")].map(text =>
  parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getCTM().a, text.getCTM().b))"""
ROWS = """() => [...document.querySelectorAll(".grid, .strip")].flatMap(grid => {
  const tops = [...grid.children].map(card => card.getBoundingClientRect().top);
  return [...new Set(tops)].map(top => tops.filter(other => other == top).length);
})"""


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (800, "light"), (1400, "dark")])
def test_it_is_legible_on_every_screen(browser: Browser, file: Path, width: int, scheme: str) -> None:
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = "[...document.querySelectorAll('.scroll')]"
        page.wait_for_function(f"{boxes}.every(box => box.scrollWidth > box.clientWidth + 1 == box.matches('.cut'))")
        assert [] == page.evaluate(CONTRASTS)
        assert min(page.evaluate(LETTERS)) >= 11
        assert width < 760 or 1 not in page.evaluate(ROWS)
