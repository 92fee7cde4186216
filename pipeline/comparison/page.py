"""A comparison as one HTML page that needs nothing else: no network, no other file, no script.

The charts are the figures of ``comparison_figures`` as inline SVG whose ink
follows the page's light or dark theme. Matrices and tables are HTML.
"""

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.comparison import drawing, grouping, tables, timing, wording
from pipeline.comparison import verdicts as between
from pipeline.comparison.grouping import Group, Result
from pipeline.comparison.verdicts import Interval, Verdict, sentence
from pipeline.comparison.wording import count_of, points
from pipeline.evaluation import figures, metrics

GALLERY_LIMIT = 48
"""Images that the page shows of those that all get wrong."""

PAIRS_LIMIT = 6
"""Pairs up to which the page shows all of them at once; four groups make up six."""

HEADLINES_LIMIT = 3

CLASSES_LIMIT = 40
"""Classes up to which the page shows confusion matrices."""

# What the figures draw in, and the variable of the page's style that takes its place.
THEMED = {figures.INK: "--ink", figures.FAINT: "--faint", figures.GRID: "--grid", drawing.SURFACE: "--card"}

GLYPHS = dict(zip(drawing.MARKERS, "●■▲◆▼✚", strict=True))

_DARKEST = 0.85  # opacity of the largest error share


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure, the heading it stands below, and what it shows, in words for those who do not see it."""

    title: str
    figure: Figure
    caption: str
    description: str


def charts(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> dict[str, Chart]:
    """Return the charts of the page, by the names of their PNG files."""
    accuracy = _listed(groups, "test_accuracy", 2, scale=100, unit=" %")
    cost = _listed(groups, "test_cost", 4, unit=" nats")
    seconds = _listed(groups, "train_seconds", 1, unit=" s")
    main = main_verdicts(verdicts)
    of_best = "" if len(main) == len(verdicts) else f"{main[0].first} less each of the others. "
    band = "Line: mean over seeds. Band: lowest to highest seed."
    dots = "Small marks: one seed each. Bar: mean; whiskers: ± one standard deviation."
    drawn = {
        "test_accuracy": Chart(
            title="Test accuracy",
            figure=drawing.accuracies(groups),
            caption=dots,
            description=f"Test accuracy, mean ± standard deviation over seeds. {accuracy}",
        ),
        "differences": Chart(
            title="Differences, and how sure they are",
            figure=drawing.differences(main),
            caption=f"{of_best}Faint: the interval covers zero. A difference is shown where neither of a pair does.",
            description="Differences of test accuracies. " + " ".join(map(sentence, main)),
        ),
        "validation_accuracy": Chart(
            title="Validation accuracy",
            figure=drawing.validation_accuracies(groups),
            caption=band,
            description="Best validation accuracy. " + _listed(groups, "best_val_accuracy", 2, scale=100, unit=" %"),
        ),
        "training_cost": Chart(
            title="Training cost",
            figure=drawing.training_costs(groups),
            caption=band,
            description="Training cost by epoch, mean over seeds. " + _last_costs(groups),
        ),
        "test_cost": Chart(
            title="Test cost",
            figure=drawing.costs(groups),
            caption=dots,
            description=f"Test cost, mean ± standard deviation over seeds. {cost}",
        ),
        "accuracy_by_seconds": Chart(
            title="Accuracy against time",
            figure=drawing.accuracy_by_seconds(groups),
            caption="Small: one seed each. Large: their mean. Up and left is better.",
            description=f"Test accuracy against seconds of training. {accuracy} Training time: {seconds}",
        ),
    }
    return {name: chart for name, chart in drawn.items() if verdicts or name != "differences"}


def files(
    groups: Sequence[Group],
    *,
    class_names: Sequence[str],
    images: NDArray[np.uint8] | None = None,
    failures: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return the page, its tables as CSV and its figures as PNG, by file name; the arguments are :func:`render`'s."""
    verdicts = between.verdicts(groups)
    charts_of_page = charts(groups, verdicts)
    written = {
        "runs": tables.runs_table(groups),
        "summary": tables.summary_table(groups),
        "verdicts": tables.verdicts_table(verdicts),
    }
    drawn = {name: chart.figure for name, chart in charts_of_page.items()}
    if len(class_names) <= CLASSES_LIMIT:
        drawn["confusion_matrices"] = drawing.confusions(groups, class_names)
    if images is not None and len(wrong := shown_wrong(groups)):
        drawn["wrong_in_all"] = drawing.wrong_in_all(groups, images, wrong, class_names)
    page = _page(groups, verdicts, charts_of_page, class_names=class_names, images=images, failures=failures)
    return (
        {"report.html": page.encode()}
        | {f"{name}.csv": table.to_csv(index=False).encode() for name, table in written.items()}
        | {f"{name}.png": _png(figure) for name, figure in drawn.items()}
    )


def render(
    groups: Sequence[Group],
    *,
    class_names: Sequence[str],
    images: NDArray[np.uint8] | None = None,
    failures: Mapping[str, str] | None = None,
) -> str:
    """Return the page.

    Args:
        groups: at least one, all tested on the same images.
        class_names: C of them.
        images: of the test split, (N, H, W), 0 to 255; None where they are not at hand.
        failures: reasons by the names of trainings that broke down.
    """
    verdicts = between.verdicts(groups)
    drawn = charts(groups, verdicts)
    return _page(groups, verdicts, drawn, class_names=class_names, images=images, failures=failures)


def _page(
    groups: Sequence[Group],
    verdicts: Sequence[Verdict],
    drawn: Mapping[str, Chart],
    *,
    class_names: Sequence[str],
    images: NDArray[np.uint8] | None,
    failures: Mapping[str, str] | None,
) -> str:
    main = main_verdicts(verdicts)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.lstrip_blocks = True
    environment.globals |= {"count_of": count_of, "sentence": sentence, "points": points, "interval": interval}
    environment.filters["three_digits"] = wording.three_digits
    results = [result for group in groups for result in group.results]
    return environment.get_template("page.html").render(
        best=grouping.recommended(groups),
        groups=groups,
        main_verdicts=main,
        other_verdicts=[verdict for verdict in verdicts if verdict not in main],
        headlines=headlines(verdicts),
        marks={group.label: _mark(style) for group, style in zip(groups, drawing.styles(groups), strict=True)},
        charts={
            name: (chart, svg(chart.figure, name=name, description=chart.description)) for name, chart in drawn.items()
        },
        matrices=_matrices(groups, class_names),
        class_names=class_names,
        wrong=_gallery(groups, class_names, images),
        digit_width=min(max(108, 8 * max(len(group.label) for group in groups) + 60), 200),
        failures=failures or {},
        cores=timing.timing(groups).said,
        made=_made(results),
        results=results,
    )


def main_verdicts(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """Return all verdicts, or where they are too many to look at, those on the recommended group."""
    if len(verdicts) <= PAIRS_LIMIT:
        return verdicts
    return [verdict for verdict in verdicts if verdict.first == verdicts[0].first]


def headlines(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what is said first, of the recommended group: a sentence per other group, or one for many."""
    of_best = [verdict for verdict in verdicts if verdict.first == verdicts[0].first]
    if len(of_best) <= HEADLINES_LIMIT:
        return [sentence(verdict) for verdict in of_best]
    better = [verdict for verdict in of_best if verdict.shown and (verdict.difference or 0) > 0]
    worse = [verdict for verdict in of_best if verdict.shown and (verdict.difference or 0) < 0]
    said = [f"Better on the test images than {len(better)} of the {len(of_best)} others"]
    said += [f"worse than {len(worse)}"] if worse else []
    said += [f"no difference shown to {len(of_best) - len(better) - len(worse)}"]
    return [", ".join(said) + "."]


def interval(of: Interval | None) -> str:
    """Return such as '−0.02 to +0.26', in percentage points."""
    return f"{points(of.low)} to {points(of.high)}" if of else "none"


def svg(figure: Figure, *, name: str, description: str) -> str:
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
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]*"', text)
    label = html.escape(description)
    text = re.sub(r"<svg[^>]*>", f'<svg {viewbox and viewbox[0]} role="img" aria-label="{label}">', text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, variable in THEMED.items():
        text = re.sub(colour, f"var({variable})", text, flags=re.IGNORECASE)
    return text


def _png(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def picture(image: NDArray[np.uint8]) -> str:
    """Return an image (H, W), dark ink on white, as the address of a PNG that holds itself."""
    written = io.BytesIO()
    imsave(written, image, cmap="gray_r", vmin=0, vmax=255, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def shown_wrong(groups: Sequence[Group]) -> NDArray[np.intp]:
    """Return the images that all get wrong, at most :data:`GALLERY_LIMIT`; those come first that most agree on."""
    positions = tables.wrong_in_all(groups)
    agreement = [-tables.answers(groups, int(position))[0][1] for position in positions]
    return positions[np.argsort(agreement, kind="stable")][:GALLERY_LIMIT]


def _listed(groups: Sequence[Group], metric: str, decimals: int, *, scale: float = 1, unit: str) -> str:
    """Return such as 'gru 98.74 ± 0.10 %, lstm 98.75 ± 0.09 %.'."""
    parts = [f"{group.label} {group.spread(metric).text(decimals, scale=scale)}{unit}" for group in groups]
    return f"{', '.join(parts)}."


def _last_costs(groups: Sequence[Group]) -> str:
    last = [(group.label, tables.history_table(group, "cost").iloc[-1]) for group in groups]
    return ", ".join(f"{label} {row['mean']:.4f} nats after epoch {row['epoch']:.0f}" for label, row in last) + "."


def _mark(style: drawing.Style) -> str:
    """Return a group's mark, as it stands in the charts, as HTML."""
    return f'<span class="mark" style="color:{style.colour}" aria-hidden="true">{GLYPHS[style.marker]}</span>'


@dataclass(frozen=True, kw_only=True)
class _Cell:
    count: int
    kind: str
    opacity: float


def _matrices(groups: Sequence[Group], class_names: Sequence[str]) -> list[tuple[Group, list[list[_Cell]], int]]:
    """Return, per group, the cells of its confusion matrix and the number of its errors."""
    if len(class_names) > CLASSES_LIMIT:
        return []
    matrices = [tables.confusion(group, len(class_names)) for group in groups]
    full_share = max(tables.largest_error_share(matrices), figures.FULL_ERROR_SHARE)
    return [
        (group, _cells(matrix, full_share), int(matrix.sum() - np.trace(matrix)))
        for group, matrix in zip(groups, matrices, strict=True)
    ]


def _cells(matrix: NDArray[np.int64], full_share: float) -> list[list[_Cell]]:
    opacities = np.where(matrix > 0, _DARKEST * np.sqrt(metrics.row_shares(matrix) / full_share), 0)
    return [
        [
            _Cell(count=int(count), kind="right" if row == column else "error", opacity=round(float(opacity), 3))
            for column, (count, opacity) in enumerate(zip(counts, row_opacities, strict=True))
        ]
        for row, (counts, row_opacities) in enumerate(zip(matrix, opacities, strict=True))
    ]


def _gallery(groups: Sequence[Group], class_names: Sequence[str], images: NDArray[np.uint8] | None) -> dict[str, Any]:
    """Return what the page tells of the images that all get wrong."""
    labels = groups[0].results[0].labels
    shown = shown_wrong(groups)
    return {
        "total": len(tables.wrong_in_all(groups)),
        "images": len(labels),
        "at_hand": images is not None,
        "shown": [
            {
                "position": int(position),
                "picture": picture(np.asarray(images[position])),
                "true": class_names[labels[position]],
                "said": drawing.said(groups, int(position), class_names),
            }
            for position in shown
        ]
        if images is not None
        else [],
    }


def _made(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return what the numbers depend on, as pairs of a term and what it is; more than one value where they differ."""
    tags = sorted({name for result in results for name in result.tags if name.startswith("version.")})
    packages = [f"{tag.removeprefix('version.')} {_values(results, tag)}" for tag in tags]
    now = datetime.now(UTC)
    return [
        ("Data set", _values(results, "dataset")),
        ("Digest of the data", _values(results, "dataset_digest")),
        ("Test images", f"{len(results[0].labels):,}"),
        ("Machine", _values(results, "machine")),
        ("Packages", ", ".join(packages) or "not recorded"),
        ("Commit of the code", _values(results, "mlflow.source.git.commit")),
        ("This page", f"{now:%Y-%m-%d %H:%M} UTC, by pipeline {__version__}"),
    ]


def _values(results: Sequence[Result], tag: str) -> str:
    values = sorted({result.tags[tag] for result in results if tag in result.tags})
    return " and ".join(values) or "not recorded"
