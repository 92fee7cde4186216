"""The report on selected runs: an HTML page, its tables and charts, stored on a run or in a folder.

The page needs nothing else: no network, no other file, no script. Its charts are inline SVG whose ink follows the
page's light or dark theme; matrices and tables are HTML.
"""

import base64
import html
import io
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import __version__, disk
from pipeline.comparison import charts, report_data
from pipeline.comparison.charts import Chart
from pipeline.comparison.grouping import Group, Selection, count_of, points
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS
from pipeline.comparison.report_data import QUALITY, Form, ReportData
from pipeline.data import stored
from pipeline.errors import DataError, reason
from pipeline.evaluation import figures, metrics
from pipeline.progress import Reporter
from pipeline.tracking import schema, store

PAGE = "report.html"

_COLUMNS = ("", "seeds", "val acc %", "test acc %", "macro F1 %", "balanced acc %", "test cost", "train s", "weights")

THEMED = {figures.INK: "--ink", figures.FAINT: "--faint", figures.GRID: "--grid", charts.SURFACE: "--card"}
"""The colours that figures are drawn in, and the variables of the page's style that replace them."""

CLASSES_LIMIT = 40
"""Number of classes up to which confusion matrices are shown."""

_GLYPHS = dict(zip(charts.MARKERS, "●■▲◆▼✚", strict=True))
GALLERY_LIMIT = 48
"""Maximum number of images to show that all runs get wrong."""


def publish(
    selected: Selection, reporter: Reporter, *, data_dir: Path, parent: str | None = None, output: Path | None = None
) -> ReportData:
    """Write the report on finished runs; return its content.

    Args:
        selected: the runs, at least one.
        reporter: receives notes on what is left out.
        data_dir: folder with the processed data, for the test examples; the page does without them.
        parent: run that gets page, tables and charts as artifacts, in ``comparison/``; None: no run.
        output: folder that gets page, tables and charts; None: no folder.

    Raises:
        DataError: ``output`` cannot be written.
    """
    groups = selected.groups
    counted = {result.run_id for group in groups for result in group.results}
    if left := [f"{result.name} ({result.run_id})" for result in selected.results if result.run_id not in counted]:
        reporter.note(f"Only the latest run of each configuration and seed counts. Left out: {', '.join(left)}.")
    pictures = _pictures(groups[0].results[0].tags, data_dir, reporter)
    data = ReportData(groups=groups, png=pictures, failures=selected.failures)
    content = files(data)
    if output is not None:
        _write(output, content)
    if parent is not None:
        store.write_files(parent, {f"{schema.COMPARISON_FOLDER}/{name}": each for name, each in content.items()})
        store.log_metrics(parent, {name: groups[0].mean(name) for name in (schema.BEST_VAL_ACCURACY, *QUALITY)})
        store.log_tags(parent, {"best": groups[0].label})
    return data


def show(data: ReportData, reporter: Reporter, form: Form | None = None) -> None:
    """Show the summary, the tests and the recommendation; with a ``form``, one text instead."""
    if form:
        reporter.result(data.text(form).rstrip("\n"))
        return
    reporter.table(_COLUMNS, data.readable().to_numpy().tolist())
    if any(len(group.seeds) > 1 for group in data.groups):
        reporter.note("± is the standard deviation over seeds, around their mean.")
    recommended = data.recommendation.sentence  # includes the sentence of a test
    for sentence in [*(test.sentence for test in data.tests if test.sentence not in recommended), recommended]:
        reporter.result(sentence)


def is_on(run_id: str) -> bool:
    """Return whether a run already contains a page."""
    return f"{schema.COMPARISON_FOLDER}/{PAGE}" in store.files_in(run_id, schema.COMPARISON_FOLDER)


def _pictures(tags: Mapping[str, str], data_dir: Path, reporter: Reporter) -> Callable[[int], bytes] | None:
    """Return a function that draws a test example of a run's data; None if the data is not available."""
    try:
        data = stored.find_by_digest(data_dir, tags[schema.DATASET], tags[schema.DATASET_DIGEST])
    except DataError as error:
        reporter.note(f"The page shows no test examples. {error}")
        return None
    return lambda position: data.kind.png(data.test.examples[position])


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names; each is written completely or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with disk.new_file(folder / name) as incoming:
                incoming.write_bytes(content)
    except OSError as error:
        raise DataError(f"output: must be a folder that can be written to; got {folder}: {reason(error)}.") from None


# --- the page ---------------------------------------------------------------------------------------------------------


def files(data: ReportData) -> dict[str, bytes]:
    """Return the page, its tables as CSV and its charts as PNG, by file name."""
    drawn = {chart: chart.draw(data) for chart in charts.CHARTS if chart.applies(data)}
    return (
        {PAGE: render(data, drawn).encode()}
        | {f"{name}.csv": table.to_csv(index=False).encode() for name, table in data.numbers().items()}
        | {f"{chart.name}.png": png(figure) for chart, figure in drawn.items()}
    )


def environment(*folders: Path) -> Environment:
    """Return the environment of the templates of this package, whose page others extend, and of ``folders``."""
    found = FileSystemLoader([Path(__file__).parent, *folders])
    made = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"count_of": count_of, "points": points, "picture": picture}
    made.globals["made"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}"
    return made


def render(data: ReportData, drawn: Mapping[Chart, Figure]) -> str:
    """Return the page."""
    styles = zip(data.groups, charts.styles(data.groups), strict=True)
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            class_names=data.results[0].class_names,
            marks={group.label: (style["color"], _GLYPHS[style["marker"]]) for group, style in styles},
            charts=[
                (chart, svg_element(figure, name=chart.name, title=chart.title)) for chart, figure in drawn.items()
            ],
            matrices=[_matrix(group) for group in data.groups],
            classes_limit=CLASSES_LIMIT,
            wrong=list(data.wrong_in_all.items())[:GALLERY_LIMIT],
            conditions=report_data.conditions(data.groups),
            fewest_seeds=FEWEST_SEEDS,
        )
    )


def _matrix(group: Group) -> tuple[Group, NDArray[Any], NDArray[Any]]:
    """Return a group, its confusion matrix summed over seeds, and its counts as shares of the true class."""
    answers = pd.concat([result.answers for result in group.results])
    classes = len(group.results[0].class_names)
    counts = metrics.confusion(answers["label"].to_numpy(), answers["predicted"].to_numpy(), classes)
    return group, counts, metrics.row_shares(counts)


# --- figures and images as parts of a page --------------------------------------------------------------------------


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def svg_element(figure: Figure, *, name: str, title: str) -> str:
    """Return a figure as an SVG element that scales to its column and takes the page's colours and font.

    Args:
        figure: the figure.
        name: part of each id in it, so that one page can contain several figures.
        title: text for screen readers.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True)
    text = written.getvalue()
    start = f'<svg role="img" aria-label="{html.escape(title)}" viewBox'
    replacements: dict[str, str | Callable[[re.Match[str]], str]] = {
        r"^.*?<svg[^>]* viewBox(=\"[^\"]*\")[^>]*>": lambda found: f"{start}{found[1]}>",
        r"<metadata>.*?</metadata>": "",
        r'\bid="': f'id="{name}-',
        r'(xlink:href="#|url\(#)': rf"\g<1>{name}-",
        r"'DejaVu Sans'[^;\"]*": "system-ui, sans-serif",
        **{f"(?i){colour}": f"var({variable})" for colour, variable in THEMED.items()},
    }
    for pattern, replacement in replacements.items():
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text


def picture(png: bytes) -> str:
    """Return a PNG as an address that contains it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
