"""A selection of runs to its report: the page with tables and charts, kept on a run or in a folder, and reported."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import disk
from pipeline.comparison import page
from pipeline.comparison.grouping import Group
from pipeline.comparison.report_data import QUALITY, ReportData
from pipeline.comparison.selection import Selection
from pipeline.data import processed
from pipeline.errors import DataError, reason
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.tracking import schema, store

PAGE = "report.html"

_COLUMNS = ("", "seeds", "val acc %", "test acc %", "macro F1 %", "bal acc %", "test cost", "train s", "parameters")


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
    png = _pictures(groups[0].results[0].tags, data_dir, reporter)
    data = ReportData(groups=groups, png=png, failures=selected.failures)
    files = page.files(data)
    if parent is not None:
        _log(parent, files, data.recommendation.group)
    if output is not None:
        _write(expanded(output), files)
    reporter.table(_COLUMNS, data.readable().to_numpy().tolist())
    for sentence in [*(test.sentence for test in data.tests), data.recommendation.sentence]:
        reporter.result(sentence)
    if output is not None:
        reporter.note(f"Look at {expanded(output) / PAGE}.")
    if parent is not None:
        reporter.note(f"Run {parent} holds the report, in {schema.COMPARISON_FOLDER}/.")
    return data


def is_on(run_id: str) -> bool:
    """Return whether a run holds a page already."""
    return f"{schema.COMPARISON_FOLDER}/{PAGE}" in store.files_in(run_id, schema.COMPARISON_FOLDER)


def _log(run_id: str, files: Mapping[str, bytes], best: Group) -> None:
    """Log the report on a comparison, and its recommended group with the means that the UI shows."""
    store.write_files(run_id, schema.COMPARISON_FOLDER, files)
    metrics = (schema.BEST_VAL_ACCURACY, *QUALITY)
    store.log_metrics(run_id, {metric: float(best.metrics[metric].mean()) for metric in metrics})
    store.log_tags(run_id, {schema.BEST_GROUP: best.label})


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
