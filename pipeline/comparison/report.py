"""The report on selected runs: an HTML page, its tables and charts, stored on a run or in a folder.

The page needs nothing else: no network, no other file, no script.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import __version__, disk
from pipeline.comparison import charts, report_data
from pipeline.comparison.charts import Chart
from pipeline.comparison.grouping import Group, count_of, points
from pipeline.comparison.pairwise_tests import FEWEST_SEEDS
from pipeline.comparison.report_data import QUALITY, Form, ReportData
from pipeline.data import stored
from pipeline.errors import DataError, reason
from pipeline.evaluation import metrics
from pipeline.progress import Reporter
from pipeline.tracking import schema, store

PAGE = "report.html"

_COLUMNS = ("", "seeds", "val acc %", "test acc %", "macro F1 %", "balanced acc %", "test cost", "train s", "weights")

CLASSES_LIMIT = 40
"""Number of classes up to which confusion matrices are shown."""

GALLERY_LIMIT = 48
"""Maximum number of images to show that all runs get wrong."""


def publish(
    groups: Sequence[Group],
    left_out: Mapping[str, str],
    reporter: Reporter,
    *,
    data_dir: Path,
    parent: schema.TrackedRun | None = None,
    output: Path | None = None,
    form: Form | None = None,
) -> None:
    """Write the report on finished runs, and show it.

    Args:
        groups: the runs by configuration, at least one.
        left_out: reasons by the names of runs that are not included.
        reporter: receives a note if there are no test examples, and the summary.
        data_dir: folder with the processed data, for the test examples; the page does without them.
        parent: run that gets page, tables and charts as artifacts, in ``comparison/``; a comparison also gets the means
            of the leading group and its name as the tag ``best``; None: no run.
        output: folder that gets page, tables and charts; None: no folder.
        form: form of the summary as one text; None: a table and sentences.

    Raises:
        DataError: ``output`` cannot be written.
    """
    pictures = _pictures(groups[0].results[0].tags, data_dir, reporter)
    data = ReportData(groups=groups, png=pictures, left_out=left_out)
    content = files(data)
    if output is not None:
        _write(output, content)
    if parent is not None:
        store.write_files(parent.run_id, {f"{schema.COMPARISON_FOLDER}/{name}": each for name, each in content.items()})
        if parent.tags.get(schema.KIND) != schema.SEARCHED:  # a search keeps the numbers of its best trial
            store.log_metrics(
                parent.run_id, {name: groups[0].mean(name) for name in (schema.BEST_VAL_ACCURACY, *QUALITY)}
            )
            store.log_tags(parent.run_id, {"best": groups[0].label})
    _show(data, reporter, form)


def _show(data: ReportData, reporter: Reporter, form: Form | None) -> None:
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
        for name, content in files.items():
            disk.write(folder / name, content)
    except OSError as error:
        raise DataError(f"output: must be a folder that can be written to; got {folder}: {reason(error)}.") from None


# --- the page ---------------------------------------------------------------------------------------------------------


def files(data: ReportData) -> dict[str, bytes]:
    """Return the page, its tables as CSV and its charts as PNG, by file name."""
    drawn = {chart: png(chart.draw(data)) for chart in charts.CHARTS if chart.applies(data)}
    return (
        {PAGE: render(data, drawn).encode()}
        | {f"{name}.csv": table.to_csv(index=False).encode() for name, table in data.numbers().items()}
        | {f"{chart.name}.png": content for chart, content in drawn.items()}
    )


def environment(*folders: Path) -> Environment:
    """Return the environment of the templates of this package, whose page others extend, and of ``folders``."""
    found = FileSystemLoader([Path(__file__).parent, *folders])
    made = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"count_of": count_of, "points": points, "picture": picture}
    made.globals["made"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}"
    return made


def render(data: ReportData, drawn: Mapping[Chart, bytes]) -> str:
    """Return the page."""
    styles = zip(data.groups, charts.styles(data.groups), strict=True)
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            class_names=data.results[0].class_names,
            marks={group.label: (style["color"], charts.MARKERS[style["marker"]]) for group, style in styles},
            charts=drawn.items(),
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


def picture(png: bytes) -> str:
    """Return a PNG as an address that contains it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
