import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from pipeline.comparison import charts, grouping, pairwise_tests, rendering, tables
from pipeline.comparison import page as pages
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import Interval, Verdict
from pipeline.comparison.report_data import Contents
from tests.unit.result_fixtures import LABELS, result, summary_of, three_groups

CLASSES = ["a", "b", "c"]
IMAGES = np.arange(len(LABELS) * 16, dtype=np.uint8).reshape(-1, 4, 4)
SECTIONS = [
    "verdict",
    "summary",
    "accuracy",
    "verdicts",
    "reading",
    "curves",
    "time",
    "confusion",
    "wrong",
    "runs",
    "made",
]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What a test asks of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
            if {"td", "th"} & set(self.open):
                self.cells[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def rows(self) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in row] for row in self.cells]

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def html_of(
    groups: list[Group],
    *,
    images: bool = True,
    failures: dict[str, str] | None = None,
    class_names: list[str] = CLASSES,
) -> str:
    shown = IMAGES if images else None
    return pages.render(Contents(groups=groups, class_names=class_names, images=shown, failures=failures or {}))


def page_of(groups: list[Group], *, images: bool = True, failures: dict[str, str] | None = None) -> Page:
    return Page(html_of(groups, images=images, failures=failures))


@pytest.fixture(scope="module")
def html() -> str:
    return html_of(three_groups())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there_in_the_order_of_interest(page: Page) -> None:
    assert SECTIONS == [name for name in page.ids() if name in SECTIONS]
    assert [] == page.open


def test_it_needs_nothing_from_elsewhere(html: str, page: Page) -> None:
    loaded = {"src", "href", "xlink:href", "action", "srcset", "poster", "data"}
    addresses = [str(attributes[name]) for _, attributes in page.tags for name in loaded & attributes.keys()]
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert {"link", "iframe", "object", "embed", "base", "form"}.isdisjoint(tag for tag, _ in page.tags)


def scripts_of(html: str) -> list[str]:
    return re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)


def policy_of(page: Page) -> str:
    return next(
        str(each["content"]) for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    )


def test_its_one_script_is_the_only_one_that_may_run_and_loads_nothing(html: str, page: Page) -> None:
    (script,) = scripts_of(html)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" == policy_of(
        page
    )
    assert [{}] == page.all("script")
    assert not re.search(r"fetch|XMLHttpRequest|import|eval|innerHTML|insertAdjacentHTML|document\.write", script)


def test_nothing_of_a_run_becomes_script_or_markup(html: str) -> None:
    evil = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}$\\frac{1$</textarea>"
    tags = dict.fromkeys(("dataset", "machine", "cores", "version.numpy", "mlflow.source.git.commit"), evil)
    trainings = [
        replace(result(cell, 1, params={"note": evil, "recipe": evil}, tags=tags, wrong=[3]), name=evil, run_id=evil)
        for cell in ("gru", evil)
    ]
    text = html_of(grouping.grouped(trainings), failures={evil: evil}, class_names=[evil, "b", "c"])
    page = Page(text)
    assert scripts_of(html) == scripts_of(text)
    assert {"svg", "img"} >= {tag for tag, attributes in page.tags if {"src", "onerror"} & attributes.keys()}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert evil in page.text


@pytest.mark.parametrize("address", ["https://mlflow.example/#/experiments/1/runs/abc", "http://127.0.0.1:5000/#/x"])
def test_a_run_id_is_a_link_where_the_store_has_an_address(address: str) -> None:
    with_address = Page(html_of(grouping.grouped([replace(result(), address=address)])))
    (link,) = with_address.all("a")
    assert (address, "noopener noreferrer") == (link["href"], link["rel"])
    assert address in [button["value"] for button in with_address.all("button")]


@pytest.mark.parametrize("address", ["", "javascript:alert(1)", "file:///etc/passwd"])
def test_a_run_id_is_otherwise_only_to_be_copied(address: str) -> None:
    without = Page(html_of(grouping.grouped([replace(result(), address=address)])))
    assert [] == without.all("a")
    assert "gru10" in [button["value"] for button in without.all("button")]


def test_each_table_is_to_be_copied_as_markdown_and_csv(html: str, page: Page) -> None:
    offered = [str(button["value"]) for button in page.all("button")]
    for table in (summary_of(three_groups()), tables.runs_table(three_groups())):
        assert table.to_csv(index=False) in offered
    assert tables.as_text(tables.readable_summary(three_groups()), "markdown") in offered
    assert all("hidden" in button for button in page.all("button"))  # until the script finds that it may run


def test_every_chart_of_the_table_stands_in_its_section(html: str) -> None:
    for section in get_args(charts.Section):
        part = html[html.index(f'<section id="{section}"') :]
        part = part[: part.index("</section>\n\n")]
        expected = [chart.name for chart in charts.CHARTS if chart.section == section]
        assert expected == re.findall(r'<figure class="card" id="chart-(\w+)"', part)
    assert len(charts.CHARTS) == len({chart.name for chart in charts.CHARTS})


def test_no_id_stands_twice_and_every_reference_has_its_target(html: str, page: Page) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:xlink:href="|url\()#([^")]+)', html)
    references += re.findall(r'aria-labelledby="([^"]+)"', html)
    assert set(references) <= set(ids)


def test_it_says_which_to_take_and_that_validation_has_chosen_it(page: Page) -> None:
    assert "Take gru: 4.00 points ahead of lstm on validation; on the test images not to be told apart" in page.text
    assert "Chosen by validation, never by test: its best validation accuracy is 94.00 ± 1.41 %" in page.text


def test_a_cheaper_one_that_is_as_good_is_recommended_beside_the_best() -> None:
    reached = {("gru", 100): (0.91, 0.92, 0.93), ("rnn", 20): (0.905, 0.935, 0.915)}
    found = page_of(
        grouping.grouped(
            result(cell, seed, wrong=[seed], val_accuracy=accuracy, seconds=seconds)
            for (cell, seconds), accuracies in reached.items()
            for seed, accuracy in enumerate(accuracies)
        )
    )
    assert "Take rnn: as good on the test images as could be shown" in found.text
    assert "there gru is ahead with 92.00 ± 1.00 %" in found.text
    assert {"● rnn recommended", "● gru best by validation"} <= {row[0] for row in found.rows if row}


def test_it_names_the_methods_of_its_verdicts(page: Page) -> None:
    assert "the paired t interval over the seeds" in page.text
    assert "the paired bootstrap over the test images" in page.text
    for verdict in pairwise_tests.verdicts(three_groups()):
        assert f"{verdict.first} and {verdict.second}: {verdict.words}." in page.text


@pytest.mark.parametrize(
    ("cells", "seeds", "said"),
    [
        (("rnn", "lstm", "gru"), (1, 2, 3), "Since 3 pairs are looked at, the intervals are wider than of one pair"),
        (("rnn", "gru"), (1, 2, 3), "By accident alone that happens in 5 % of cases."),
    ],
)
def test_it_says_for_how_many_pairs_its_verdicts_are_corrected(
    cells: tuple[str, ...], seeds: tuple[int, ...], said: str
) -> None:
    assert said in page_of(grouping.grouped(result(cell, seed) for cell in cells for seed in seeds)).text


def test_of_too_few_seeds_it_says_that_they_are_why_intervals_are_faint(page: Page) -> None:
    assert "Faint: the interval covers zero, or the seeds are too few." in page.text
    assert "pairs are looked at" not in page.text


def test_it_says_what_was_compared() -> None:
    tags = {"machine": "a big one", "mlflow.source.git.commit": "0c50a2691a1f"}
    shown = page_of(grouping.grouped([result(params={"learning_rate": "0.004"}, tags=tags), result("rnn", tags=tags)]))
    assert "epochs 2 · learning rate 0.004 · code 0c50a269 · a big one" in shown.text


def test_on_a_busy_machine_processor_time_stands_beside_wall_time() -> None:
    trainings = [result(cell, 1, seconds=656, cpu_seconds=260) for cell in ("gru", "rnn")]
    busy = page_of(grouping.grouped(trainings))
    assert "The machine was busy: 2 of 2 trainings waited for a processor" in busy.text
    assert ["● gru", "328", "656.0", "260.0", "1,000"] in busy.rows
    assert "(260 s against 260 s)" in busy.text


def test_the_summary_holds_the_numbers_of_each_group(page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 6}
    assert ["2", "90.00 ± 0.00", "85.00 ± 7.07", "0.5000 ± 0.0000", "20.0 ± 0.0"] == rows["● lstm"]
    assert "● gru recommended" in rows


def test_the_runs_are_listed_and_those_taken_over_marked(page: Page) -> None:
    rows = [row for row in page.rows if len(row) == 9]
    assert ["run", "rnn-s1", "rnn-s2", "lstm-s1", "lstm-s2", "gru-s1 taken over", "gru-s2"] == [
        row[0].removeprefix("● ") for row in rows
    ]
    assert ["2", "2 of 2", "90.00", "90.00", "0.5000", "20.0", "lstm", "lstm20 Copy"] == rows[4][1:]
    assert "Taken over: trained by an earlier comparison" in page.text


def test_failures_are_told_with_their_reasons_as_text() -> None:
    failed = page_of(three_groups(), failures={"lstm-s3": "a cost of <b>nan</b>"})
    assert "1 training failed and is not in the numbers" in failed.text
    assert "lstm-s3 : a cost of <b>nan</b>" in failed.text


def test_charts_are_scalable_described_and_in_the_colours_of_the_page(page: Page, html: str) -> None:
    drawings = page.all("svg")
    assert 6 == len(drawings)
    for drawing in drawings:
        assert "img" == drawing["role"]
        assert "gru" in str(drawing["aria-label"])
        assert drawing["viewbox"]
        assert "width" not in drawing
    assert not re.search("#222222|#8a8a8a|#e4e4e4|#ffffff", html[html.index("<body>") :], re.IGNORECASE)
    assert "stroke: var(--grid)" in html
    assert "fill: var(--ink)" in html
    assert "DejaVu" not in html


def test_both_themes_are_there(html: str) -> None:
    assert "@media (prefers-color-scheme: dark)" in html
    assert '<meta name="color-scheme" content="light dark">' in html


def test_tables_have_headers(page: Page) -> None:
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))


def test_confusion_matrices_hold_the_counts_and_share_a_scale(page: Page) -> None:
    rows = [row for row in page.rows if len(row) == 4 and row[0] in CLASSES]
    # Summed over two seeds, by hand: of the 0s, rnn gets images 0 and 3 wrong with both.
    assert ["a", "4", "4", ""] == rows[0]
    shares = [re.findall(r"--share:([\d.]+)", str(cell.get("style"))) for cell in page.all("td")]
    assert 0.85 == max(float(share[0]) for share in shares if share)


def test_the_colours_of_the_matrices_are_explained(page: Page) -> None:
    assert "four times the share is twice as dark" in page.text
    named = page.text[page.text.index("so that few errors show, too:") :]
    # The largest share is all of a class: rnn takes 4 of 8 images of 0 for 1, which is 50 %.
    assert named.startswith("so that few errors show, too: 3.1 % 12 % 28 % 50 %")


def test_many_classes_are_not_drawn_as_matrices() -> None:
    names = [str(number) for number in range(41)]
    assert "41 classes are too many" in Page(html_of(three_groups(), class_names=names)).text


def test_images_that_all_get_wrong_are_shown_with_truth_and_answers(page: Page) -> None:
    (image,) = page.all("img")
    assert "Test image 3, a a" == image["alt"]
    assert "true a all say b" in page.text
    encoded = str(image["src"]).removeprefix("data:image/png;base64,")
    pixels = imread(io.BytesIO(base64.b64decode(encoded)), format="png")
    assert np.allclose(pixels[:, :, 0], 1 - IMAGES[3] / 255, atol=1.1 / 255)


def test_images_that_are_not_at_hand_are_said_to_be() -> None:
    without = page_of(three_groups(), images=False)
    assert [] == without.all("img")
    assert "1 test image of 10: answered wrong by every training" in without.text
    assert "The images are not at hand" in without.text


def test_it_says_when_nothing_is_wrong_in_all() -> None:
    assert "No test image is answered wrong" in page_of(grouping.grouped([result("gru"), result("rnn")])).text


def test_those_that_most_agree_on_come_first() -> None:
    results = [result("gru", wrong=[0, 5]), result("rnn", wrong=[0, 5])]
    results[1].predicted[0] = 2
    assert [5, 0] == Contents(groups=grouping.grouped(results), class_names=CLASSES).shown_wrong.tolist()


def test_one_group_is_shown_without_comparison() -> None:
    alone = page_of(grouping.grouped([result(seed=1), result(seed=2)]))
    assert "One configuration: there is nothing to compare it with." in alone.text
    assert "recommended" not in alone.text
    assert 5 == len(alone.all("svg"))


def many_groups() -> list[Group]:
    return grouping.grouped(
        result(seed=seed, params={"layers": str(layers)}, val_accuracy=0.9 - layers / 100, wrong=[layers])
        for layers in range(1, 6)
        for seed in (1, 2)
    )


def test_of_many_groups_the_pairs_of_the_recommended_one_are_shown_and_the_others_folded() -> None:
    many = page_of(many_groups())
    assert "Better on the test images than 0 of the 4 others, no difference shown to 4." in many.text
    assert "6 other pairs" in many.text
    assert 1 == len(many.all("details"))


def test_it_names_data_machine_and_versions_once_or_each_where_they_differ() -> None:
    tags = {"dataset": "digits", "dataset_digest": "af1a", "machine": "a big one", "version.keras": "3.15.1"}
    results = [result(seed=1, tags=tags), result(seed=2, tags=tags | {"version.keras": "3.16.0"})]
    text = page_of(grouping.grouped(results)).text
    assert all(each in text for each in ("digits", "af1a", "a big one", "keras 3.15.1 and 3.16.0"))


def test_labels_are_escaped_everywhere() -> None:
    groups = grouping.grouped([result(params={"note": "<i>&"}), result(params={"note": "<u>"})])
    html = html_of(groups, images=False)
    assert "<i>&" not in html
    assert "<u>" not in html
    assert "Take gru, note <i>&:" in Page(html).text


def test_an_interval_is_written_with_signs() -> None:
    assert "−0.02 to +0.26" == pages.interval(Interval(-0.0002, 0.0026))


def test_a_verdict_is_a_sentence_on_both_groups() -> None:
    verdict = Verdict(first="gru", second="lstm", seeds=())
    assert "gru and lstm: no common seeds: they cannot be compared." == pairwise_tests.sentence(verdict)


def test_the_files_are_the_page_three_tables_and_two_pictures_of_each_figure() -> None:
    files = pages.files(Contents(groups=three_groups(), class_names=CLASSES, images=IMAGES))
    names = {"test_accuracy", "differences", "validation_accuracy", "training_cost", "test_cost"}
    names |= {"accuracy_by_seconds", "confusion_matrices", "wrong_in_all"}
    tables = {"runs.csv", "summary.csv", "verdicts.csv"}
    pictures = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {"report.html", *tables, *pictures} == files.keys()
    assert {chart.name for chart in charts.CHARTS} == names
    assert all(files[f"{name}.png"].startswith(b"\x89PNG") for name in names)
    roots = {ElementTree.fromstring(files[f"{name}.svg"]).tag for name in names}  # noqa: S314 - our own
    assert {"{http://www.w3.org/2000/svg}svg"} == roots
    assert files["summary.csv"].startswith(b"group,seeds,test_accuracy_mean,test_accuracy_sd")


def test_a_figure_without_groups_is_no_trouble() -> None:
    figure = Figure(figsize=(1, 1))
    assert 'aria-label="a &lt; b"' in rendering.svg_element(figure, name="empty", description="a < b")


def test_a_description_is_taken_as_it_is() -> None:
    written = rendering.svg_element(Figure(figsize=(1, 1)), name="empty", description=r"\1 \frac")
    assert r'aria-label="\1 \frac"' in written
