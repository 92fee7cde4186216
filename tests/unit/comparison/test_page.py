import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from pipeline.comparison import grouping, verdicts
from pipeline.comparison import page as pages
from pipeline.comparison.grouping import Group
from pipeline.comparison.verdicts import Interval, Verdict
from tests.unit.result_fixtures import LABELS, result, three_groups

CLASSES = ["a", "b", "c"]
IMAGES = np.arange(len(LABELS) * 16, dtype=np.uint8).reshape(-1, 4, 4)
SECTIONS = ["verdict", "summary", "accuracy", "verdicts", "curves", "time", "confusion", "wrong", "runs", "made"]
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


def page_of(groups: list[Group], *, images: bool = True, failures: dict[str, str] | None = None) -> Page:
    return Page(pages.render(groups, class_names=CLASSES, images=IMAGES if images else None, failures=failures))


@pytest.fixture(scope="module")
def html() -> str:
    return pages.render(three_groups(), class_names=CLASSES, images=IMAGES)


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
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in page.tags)


def test_no_id_stands_twice_and_every_reference_has_its_target(html: str, page: Page) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:xlink:href="|url\()#([^")]+)', html)
    references += re.findall(r'aria-labelledby="([^"]+)"', html)
    assert set(references) <= set(ids)


def test_it_recommends_by_validation_and_says_so(page: Page) -> None:
    assert "gru is recommended" in page.text
    assert "Chosen by validation, never by test: its best validation accuracy is 94.00 ± 1.41 %" in page.text


def test_it_names_the_methods_of_its_verdicts(page: Page) -> None:
    assert "the paired t interval over the seeds" in page.text
    assert "the paired bootstrap over the test images" in page.text
    for verdict in verdicts.verdicts(three_groups()):
        assert f"{verdict.first} and {verdict.second}: {verdict.words}." in page.text


def test_the_summary_holds_the_numbers_of_each_group(page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 6}
    assert ["2", "90.00 ± 0.00", "85.00 ± 7.07", "0.5000 ± 0.0000", "20.0 ± 0.0"] == rows["● lstm"]
    assert "● gru recommended" in rows


def test_the_runs_are_listed_and_those_taken_over_marked(page: Page) -> None:
    rows = [row for row in page.rows if len(row) == 9]
    assert ["run", "rnn-s1", "rnn-s2", "lstm-s1", "lstm-s2", "gru-s1 taken over", "gru-s2"] == [
        row[0].removeprefix("● ") for row in rows
    ]
    assert ["2", "2 of 2", "90.00", "90.00", "0.5000", "20.0", "lstm", "lstm20"] == rows[4][1:]
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


def test_many_classes_are_not_drawn_as_matrices() -> None:
    names = [str(number) for number in range(41)]
    assert "41 classes are too many" in Page(pages.render(three_groups(), class_names=names)).text


def test_images_that_all_get_wrong_are_shown_with_truth_and_answers(page: Page) -> None:
    (image,) = page.all("img")
    assert "Test image 3, a a" == image["alt"]
    assert "true a all: b" in page.text
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
    assert [5, 0] == pages.shown_wrong(grouping.grouped(results)).tolist()


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
    html = pages.render(groups, class_names=CLASSES)
    assert "<i>&" not in html
    assert "<u>" not in html
    assert "gru, note <i>& is recommended" in Page(html).text


def test_an_interval_is_written_with_signs() -> None:
    assert "−0.02 to +0.26" == pages.interval(Interval(-0.0002, 0.0026))


def test_a_verdict_is_a_sentence_on_both_groups() -> None:
    verdict = Verdict(first="gru", second="lstm", seeds=())
    assert "gru and lstm: no common seeds: they cannot be compared." == verdicts.sentence(verdict)


def test_the_files_are_the_page_three_tables_and_a_picture_of_each_figure() -> None:
    files = pages.files(three_groups(), class_names=CLASSES, images=IMAGES)
    charts = {"test_accuracy", "differences", "validation_accuracy", "training_cost", "test_cost"}
    charts |= {"accuracy_by_seconds", "confusion_matrices", "wrong_in_all"}
    tables = {"runs.csv", "summary.csv", "verdicts.csv"}
    assert {"report.html", *tables, *(f"{name}.png" for name in charts)} == files.keys()
    assert all(files[f"{name}.png"].startswith(b"\x89PNG") for name in charts)
    assert files["summary.csv"].startswith(b"group,seeds,test_accuracy_mean,test_accuracy_sd")


def test_a_figure_without_groups_is_no_trouble() -> None:
    figure = Figure(figsize=(1, 1))
    assert 'aria-label="a &lt; b"' in pages.svg(figure, name="empty", description="a < b")
