"""A comparison as one HTML page that needs nothing else: no network, no other file.

The charts are inline SVG whose ink follows the page's light or dark theme.
Matrices and tables are HTML. The one script copies tables; no other may run.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.comparison import charts, formatting, grouping, plots, provenance, tables, timing
from pipeline.comparison.charts import Chart
from pipeline.comparison.formatting import count_of, points
from pipeline.comparison.grouping import Group
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS, Interval, Verdict, sentence
from pipeline.comparison.rendering import picture, png, svg, svg_element
from pipeline.comparison.report_data import Contents
from pipeline.evaluation import figures, metrics
from pipeline.tracking import schema

GLYPHS = dict(zip(plots.MARKERS, "●■▲◆▼✚", strict=True))

_LONG_LABEL = 16  # letters, beyond which verdicts take a whole row
_DARKEST = 0.85  # opacity of the largest error share
_LEGEND = (1 / 16, 1 / 4, 9 / 16, 1)  # shares of the largest whose colours are named, a step of darkness apart


def files(contents: Contents) -> dict[str, bytes]:
    """Return the page, its tables as CSV and its figures as PNG and SVG, by file name."""
    drawn = charts.drawn(contents)
    numbers = _numbers(contents)
    return (
        {"report.html": _page(contents, drawn).encode()}
        | {f"{name}.csv": tables.as_text(table, "csv").encode() for name, table in numbers.items()}
        | {f"{chart.name}.png": png(figure) for chart, figure in drawn.items()}
        | {f"{chart.name}.svg": svg(figure, name=chart.name) for chart, figure in drawn.items()}
    )


def render(contents: Contents) -> str:
    """Return the page."""
    return _page(contents, charts.drawn(contents))


def environment(*folders: Path) -> Environment:
    """Return where templates are found: this package's, on whose page others build, and those of further folders."""
    found = FileSystemLoader([Path(__file__).parent, *folders])
    made = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"count_of": count_of, "sentence": sentence, "points": points, "interval": interval}
    made.filters |= {"three_digits": formatting.three_digits, "sha256": _sha256}
    return made


def _page(contents: Contents, drawn: Mapping[Chart, Figure]) -> str:
    groups, (matrices, full_share) = contents.groups, _matrices(contents)
    longest = max(len(group.label) for group in groups)
    return (
        environment()
        .get_template("page.html")
        .render(
            contents=contents,
            groups=groups,
            results=contents.results,
            best=contents.advice.group if contents.advice else groups[0],
            leader=grouping.best_by_validation(groups),
            fewest_seeds=FEWEST_SEEDS,
            summary_of_pairs=summary_of_pairs(contents.verdicts),
            marks={group.label: _mark(style) for group, style in zip(groups, plots.styles(groups), strict=True)},
            charts={section: _of_section(section, contents, drawn) for section in get_args(charts.Section)},
            processor_time=schema.CPU_SECONDS if timing.has_processor_time(groups) else "",
            matrices=matrices,
            legend=[(share * full_share, round(_DARKEST * share**0.5, 3)) for share in _LEGEND],
            wrong=_gallery(contents),
            long_labels=longest > _LONG_LABEL,
            digit_width=min(max(108, 8 * longest + 60), 200),
            copies=_copies(contents),
            conditions=provenance.conditions(groups),
            in_short=provenance.in_short(groups),
            made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}",
        )
    )


def interval(of: Interval | None) -> str:
    """Return such as '−0.02 to +0.26', in percentage points."""
    return f"{points(of.low)} to {points(of.high)}" if of else "none"


def summary_of_pairs(verdicts: Sequence[Verdict]) -> str:
    """Return what the test images say of the group that is best by validation, beside all others, in one sentence."""
    of_best = [verdict for verdict in verdicts if verdict.first == verdicts[0].first]
    better = [verdict for verdict in of_best if verdict.shown and (verdict.difference or 0) > 0]
    worse = [verdict for verdict in of_best if verdict.shown and (verdict.difference or 0) < 0]
    said = [f"Better on the test images than {len(better)} of the {len(of_best)} others"]
    said += [f"worse than {len(worse)}"] if worse else []
    said += [f"no difference shown to {len(of_best) - len(better) - len(worse)}"]
    return ", ".join(said) + "."


def _of_section(section: str, contents: Contents, drawn: Mapping[Chart, Figure]) -> list[dict[str, str]]:
    """Return the charts of a section of the page, in their order: name, heading, picture, words."""
    return [
        {
            "name": chart.name,
            "title": chart.title,
            "picture": svg_element(figure, name=chart.name, description=chart.description(contents)),
            "caption": chart.caption(contents),
        }
        for chart, figure in drawn.items()
        if chart.section == section
    ]


def _numbers(contents: Contents) -> dict[str, pd.DataFrame]:
    """Return the tables of the page in numbers."""
    return {
        "runs": tables.runs_table(contents.groups),
        "summary": tables.summary_table(contents.groups, contents.verdicts),
        "verdicts": tables.verdicts_table(contents.verdicts),
    }


def _copies(contents: Contents) -> dict[str, dict[str, str]]:
    """Return the texts that the page offers to be copied, by table and by what it calls their form."""
    readable = {
        "runs": tables.readable_runs(contents.groups),
        "summary": tables.readable_summary(contents.groups),
        "verdicts": tables.readable_verdicts(contents.verdicts),
    }
    return {
        name: {"Markdown": tables.as_text(readable[name], "markdown"), "CSV": tables.as_text(numbers, "csv")}
        for name, numbers in _numbers(contents).items()
    }


def _sha256(text: str) -> str:
    """Return the digest of a script by which a page's policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _mark(style: plots.Style) -> str:
    """Return a group's mark, as it stands in the charts, as HTML."""
    return f'<span class="mark" style="color:{style.colour}" aria-hidden="true">{GLYPHS[style.marker]}</span>'


class _Cell(NamedTuple):
    images: int
    kind: str
    opacity: float


class _Matrix(NamedTuple):
    group: Group
    rows: list[list[_Cell]]
    errors: int


def _matrices(contents: Contents) -> tuple[list[_Matrix], float]:
    """Return the confusion matrices of the groups, and the share of a row that is darkest in all of them."""
    if not contents.has_matrices:
        return [], 0.0
    counted = [tables.confusion(group, len(contents.class_names)) for group in contents.groups]
    full_share = max(tables.largest_error_share(counted), figures.FULL_ERROR_SHARE)
    return [
        _Matrix(group, _cells(matrix, full_share), int(matrix.sum() - np.trace(matrix)))
        for group, matrix in zip(contents.groups, counted, strict=True)
    ], full_share


def _cells(matrix: NDArray[np.int64], full_share: float) -> list[list[_Cell]]:
    opacities = np.where(matrix > 0, _DARKEST * np.sqrt(metrics.row_shares(matrix) / full_share), 0)
    return [
        [
            _Cell(int(count), "right" if row == column else "error", round(float(opacity), 3))
            for column, (count, opacity) in enumerate(zip(counts, row_opacities, strict=True))
        ]
        for row, (counts, row_opacities) in enumerate(zip(matrix, opacities, strict=True))
    ]


def _gallery(contents: Contents) -> dict[str, Any]:
    """Return what the page tells of the images that all get wrong."""
    groups, names, images = contents.groups, contents.class_names, contents.images
    labels = groups[0].results[0].labels
    return {
        "total": len(tables.wrong_in_all(groups)),
        "images": len(labels),
        "at_hand": images is not None,
        "shown": [
            {
                "position": int(position),
                "picture": picture(np.asarray(images[position])),
                "true": names[labels[position]],
                "said": plots.said(groups, int(position), names),
            }
            for position in contents.shown_wrong
        ]
        if images is not None
        else [],
    }
