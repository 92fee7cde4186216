"""The report on selected runs: an HTML page, its tables and charts, stored on a run or in a folder.

The page needs nothing else: no network, no other file. Its charts are inline SVG whose ink follows the page's light or
dark theme; matrices and tables are HTML. The one script copies tables; no other may run.
"""

import base64
import hashlib
import html
import io
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from pipeline import __version__, disk
from pipeline.comparison import charts, report_data
from pipeline.comparison.charts import Chart
from pipeline.comparison.grouping import count_of, points
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS
from pipeline.comparison.report_data import QUALITY, ReportData
from pipeline.comparison.selection import Selection
from pipeline.data import processed
from pipeline.errors import DataError, reason
from pipeline.evaluation import figures, metrics
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.tracking import schema, store

PAGE = "report.html"

_COLUMNS = ("", "seeds", "val acc %", "test acc %", "macro F1 %", "bal acc %", "test cost", "train s", "parameters")

THEMED = {figures.INK: "--ink", figures.FAINT: "--faint", figures.GRID: "--grid", charts.SURFACE: "--card"}
"""The colours that figures are drawn in, and the variables of the page's style that replace them."""

CLASSES_LIMIT = 40
"""Number of classes up to which confusion matrices are shown."""

_GLYPHS = dict(zip(charts.MARKERS, "●■▲◆▼✚", strict=True))
GALLERY_LIMIT = 48
"""Number of images shown of those that all runs get wrong."""

_DARKEST = 0.85  # opacity of the largest error share
_LEGEND = (1 / 16, 1 / 4, 9 / 16, 1)  # shares of the largest whose colours are named, a step of darkness apart


def report(
    selected: Selection, reporter: Reporter, *, data_dir: Path, parent: str | None = None, output: Path | None = None
) -> ReportData:
    """Report on finished runs; return what the report shows.

    Args:
        selected: the runs, at least one.
        reporter: is told the summary, the tests, the recommendation, and where the page is.
        data_dir: where the processed data is looked for, for the test examples; the page does without them.
        parent: the run that gets page, tables and charts as artifacts, in ``comparison/``; None: none does.
        output: folder that gets page, tables and charts; None: none does.

    Raises:
        DataError: ``output`` cannot be written.
    """
    groups = selected.groups
    counted = {result.run_id for group in groups for result in group.results}
    if left := [f"{result.name} ({result.run_id})" for result in selected.results if result.run_id not in counted]:
        reporter.note(f"Of runs with the same parameters and seed only the latest counts. Left out: {', '.join(left)}.")
    pictures = _pictures(groups[0].results[0].tags, data_dir, reporter)
    data = ReportData(groups=groups, png=pictures, failures=selected.failures)
    content = files(data)
    reporter.table(_COLUMNS, data.readable().to_numpy().tolist())
    for sentence in [*(test.sentence for test in data.tests), data.recommendation.sentence]:
        reporter.result(sentence)
    if output is not None:
        _write(expanded(output), content)
        reporter.note(f"Look at {expanded(output) / PAGE}.")
    if parent is not None:
        store.write_files(parent, schema.COMPARISON_FOLDER, content)
        best = data.recommendation.group
        means = best.metrics[[schema.BEST_VAL_ACCURACY, *QUALITY]].mean()
        store.log_metrics(parent, {str(name): float(mean) for name, mean in means.items()})
        store.log_tags(parent, {"best": best.label})
        reporter.note(f"Run {parent} holds the report, in {schema.COMPARISON_FOLDER}/.")
    return data


def is_on(run_id: str) -> bool:
    """Return whether a run holds a page already."""
    return f"{schema.COMPARISON_FOLDER}/{PAGE}" in store.files_in(run_id, schema.COMPARISON_FOLDER)


def _pictures(tags: Mapping[str, str], data_dir: Path, reporter: Reporter) -> Callable[[int], bytes] | None:
    """Return what draws a test example of the data that a run was trained on; None where it is not available."""
    try:
        data = processed.find_by_digest(data_dir, tags[schema.DATASET], tags[schema.DATASET_DIGEST])
    except DataError as error:
        reporter.note(f"The page shows no test examples. {error}")
        return None
    return lambda position: data.kind.png(data.test.examples[position])


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names; each is complete, or as it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with disk.new_file(folder / name) as incoming:
                incoming.write_bytes(content)
    except OSError as error:
        raise DataError(f"output must be a folder that can be written; got {folder}: {reason(error)}.") from None


# --- the page ---------------------------------------------------------------------------------------------------------


def files(data: ReportData) -> dict[str, bytes]:
    """Return the page, its tables as CSV and its charts as PNG, by file name."""
    drawn = charts.drawn(data)
    return (
        {PAGE: render(data, drawn).encode()}
        | {f"{name}.csv": report_data.as_text(table, "csv").encode() for name, table in data.numbers().items()}
        | {f"{chart.name}.png": png(figure) for chart, figure in drawn.items()}
    )


def environment(*folders: Path) -> Environment:
    """Return the environment of templates: those of this package, on whose page others build, and of more folders."""
    found = FileSystemLoader([Path(__file__).parent, *folders])
    made = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"count_of": count_of, "points": points}
    made.filters |= {"three_digits": three_digits, "sha256": _sha256}
    return made


def render(data: ReportData, drawn: Mapping[Chart, Figure]) -> str:
    """Return the page."""
    styles = zip(data.groups, charts.styles(data.groups), strict=True)
    copies = {name: {"CSV": report_data.as_text(table, "csv")} for name, table in data.numbers().items()}
    copies["summary"]["Markdown"] = report_data.as_text(data.readable(), "markdown")
    template = environment().get_template("report.html")
    return template.render(
        data=data,
        class_names=data.results[0].class_names,
        marks={group.label: (style["color"], _GLYPHS[style["marker"]]) for group, style in styles},
        copies=copies,
        charts=[
            (chart, svg_element(figure, name=chart.name, description=chart.title)) for chart, figure in drawn.items()
        ],
        matrices=_matrices(data),
        wrong=list(data.wrong_in_all.items())[:GALLERY_LIMIT],
        picture=picture,
        conditions=report_data.conditions(data.groups),
        fewest_seeds=FEWEST_SEEDS,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}",
    )


def three_digits(value: float) -> str:
    """Return a number that is not negative with three significant digits: '0.0123', '1.00', '150'."""
    decimals = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:,.{max(decimals, 0)}f}"


def _sha256(text: str) -> str:
    """Return the digest of a script by which a page's policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _matrices(data: ReportData) -> dict[str, Any] | None:
    """Return the confusion matrices of the groups, on one scale; None where the classes are too many."""
    classes = len(data.results[0].class_names)
    if classes > CLASSES_LIMIT:
        return None
    answers = [pd.concat([result.answers for result in group.results]) for group in data.ordered]
    counts = [metrics.confusion(each["label"].to_numpy(), each["predicted"].to_numpy(), classes) for each in answers]
    shares = [metrics.row_shares(matrix) for matrix in counts]
    largest = max(figures.FULL_ERROR_SHARE, *(each[~np.eye(classes, dtype=bool)].max(initial=0) for each in shares))
    shades = [(_DARKEST * np.sqrt(each / largest)).round(3) for each in shares]
    return {
        "all": list(zip(data.ordered, counts, shades, strict=True)),
        "legend": [(share * largest, round(_DARKEST * share**0.5, 3)) for share in _LEGEND],
    }


# --- figures and images as parts of a page --------------------------------------------------------------------------


def png(figure: Figure, **options: Any) -> bytes:
    """Return a figure as a PNG file; the options are those of ``savefig``."""
    written = io.BytesIO()
    figure.savefig(written, format="png", **options)
    return written.getvalue()


def svg_element(figure: Figure, *, name: str, description: str) -> str:
    """Return a figure as an SVG element that scales to its column and takes the page's colours and font.

    Args:
        figure: to draw.
        name: made part of each id in it, so that several of them stand in one page.
        description: what a screen reader says.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True)
    text = written.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]*"', text)
    start = f'<svg {viewbox and viewbox[0]} role="img" aria-label="{html.escape(description)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: start, text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, variable in THEMED.items():
        text = re.sub(colour, f"var({variable})", text, flags=re.IGNORECASE)
    return text


def picture(png: bytes) -> str:
    """Return a PNG as an address that contains it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
