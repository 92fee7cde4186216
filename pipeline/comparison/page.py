"""A comparison as one HTML page that needs nothing else: no network, no other file.

The charts are inline SVG whose ink follows the page's light or dark theme. Matrices and tables are HTML. The one script
copies tables; no other may run.
"""

import base64
import hashlib
import html
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from pipeline import __version__
from pipeline.comparison import charts, formatting, provenance, report_data
from pipeline.comparison.charts import Chart
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS
from pipeline.comparison.report_data import ReportData
from pipeline.evaluation import figures, metrics

THEMED = {figures.INK: "--ink", figures.FAINT: "--faint", figures.GRID: "--grid", charts.SURFACE: "--card"}
"""The colours that figures are drawn in, and the variables of the page's style that replace them."""

CLASSES_LIMIT = 40
"""Number of classes up to which confusion matrices are shown."""

_GLYPHS = dict(zip(charts.MARKERS, "●■▲◆▼✚", strict=True))
GALLERY_LIMIT = 48
"""Number of images shown of those that all runs get wrong."""

_DARKEST = 0.85  # opacity of the largest error share
_LEGEND = (1 / 16, 1 / 4, 9 / 16, 1)  # shares of the largest whose colours are named, a step of darkness apart


def files(data: ReportData) -> dict[str, bytes]:
    """Return the page, its tables as CSV and its charts as PNG, by file name."""
    drawn = charts.drawn(data)
    return (
        {"report.html": render(data, drawn).encode()}
        | {f"{name}.csv": report_data.as_text(table, "csv").encode() for name, table in data.numbers().items()}
        | {f"{chart.name}.png": png(figure) for chart, figure in drawn.items()}
    )


def environment(*folders: Path) -> Environment:
    """Return the environment of templates: those of this package, on whose page others build, and of more folders."""
    found = FileSystemLoader([Path(__file__).parent, *folders])
    made = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"count_of": formatting.count_of, "points": formatting.points}
    made.filters |= {"three_digits": formatting.three_digits, "sha256": _sha256}
    return made


def render(data: ReportData, drawn: Mapping[Chart, Figure]) -> str:
    """Return the page."""
    styles = zip(data.groups, charts.styles(data.groups), strict=True)
    copies = {name: {"CSV": report_data.as_text(table, "csv")} for name, table in data.numbers().items()}
    copies["summary"]["Markdown"] = report_data.as_text(data.readable(), "markdown")
    template = environment().get_template("page.html")
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
        conditions=provenance.conditions(data.groups),
        fewest_seeds=FEWEST_SEEDS,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}",
    )


def _sha256(text: str) -> str:
    """Return the digest of a script by which a page's policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _matrices(data: ReportData) -> dict[str, Any] | None:
    """Return the confusion matrices of the groups, on one scale; None where the classes are too many."""
    classes = len(data.results[0].class_names)
    if classes > CLASSES_LIMIT:
        return None
    counted = []
    for group in data.ordered:
        answers = pd.concat([result.answers for result in group.results])
        counted.append(
            (group, metrics.confusion(answers["label"].to_numpy(), answers["predicted"].to_numpy(), classes))
        )
    errors = [metrics.row_shares(matrix)[~np.eye(classes, dtype=bool)].max(initial=0) for _, matrix in counted]
    largest = max(*errors, figures.FULL_ERROR_SHARE)
    opacities = [_DARKEST * np.sqrt(metrics.row_shares(matrix) / largest) for _, matrix in counted]
    return {
        "all": [(*pair, shades.round(3)) for pair, shades in zip(counted, opacities, strict=True)],
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
