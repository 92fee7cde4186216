"""A selection of trainings to its report: the page with tables and figures, kept on a run or in a folder, and told.

All is read from the runs; of the data only the test images are needed, and
without them the page shows everything but those.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.comparison import formatting, grouping, page, pairwise_tests, selection
from pipeline.comparison.grouping import Group, Result
from pipeline.comparison.report_data import Contents
from pipeline.comparison.selection import Selection
from pipeline.data import processed
from pipeline.errors import DataError, reason
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.tracking import schema, store

PAGE = "report.html"


def report(
    selected: Selection, reporter: Reporter, *, data_dir: Path, parent: str | None = None, output: Path | None = None
) -> list[Group]:
    """Report on finished trainings; return the groups that they make up.

    Args:
        selected: the trainings, at least one.
        reporter: is told the summary, the verdicts, and where the page is.
        data_dir: where the processed data is looked for, for the test images.
        parent: the run that gets page, tables and figures as artifacts, in ``comparison/``; None: none does.
        output: folder that gets page, tables and figures; None: none does.

    Raises:
        DataError: ``output`` cannot be written.
        TrackingError: a run is not finished or not evaluated, or they are of different data.
    """
    results, class_names = selection.results_of(selected)
    groups = grouping.grouped(results)
    _note_twins(groups, results, reporter)
    images = _test_images(results[0], data_dir, reporter)
    contents = Contents(groups=groups, class_names=class_names, images=images, failures=selected.failures)
    files = page.files(contents)
    if parent is not None:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), files)
            store.log_folder(parent, Path(folder), schema.COMPARISON_FOLDER)
        _log_best(parent, grouping.best_by_validation(groups))
    output = expanded(output) if output is not None else None
    if output is not None:
        _write(output, files)
    _tell(contents, parent, output, reporter)
    return groups


def is_on(run_id: str) -> bool:
    """Return whether a run holds a page already."""
    return f"{schema.COMPARISON_FOLDER}/{PAGE}" in store.files_in(run_id, schema.COMPARISON_FOLDER)


def _log_best(run_id: str, best: Group) -> None:
    """Log on a comparison what the UI shows beside it: the means of its best group, by validation, and which it is."""
    metrics = (schema.BEST_VAL_ACCURACY, schema.TEST_ACCURACY, schema.TEST_COST)
    store.log_metrics(run_id, {metric: best.spread(metric).mean for metric in metrics})
    store.log_tags(run_id, {schema.BEST_GROUP: best.label})


def _note_twins(groups: Sequence[Group], results: Sequence[Result], reporter: Reporter) -> None:
    counted = {result.run_id for group in groups for result in group.results}
    if left := [f"{result.name} ({result.run_id})" for result in results if result.run_id not in counted]:
        reporter.note(f"Of trainings with the same parameters and seed the latest counts. Left out: {', '.join(left)}.")


def _test_images(result: Result, data_dir: Path, reporter: Reporter) -> Any:
    """Return the test images (N, H, W) of the data that a run was trained on, or None where it is not there."""
    tags = result.tags
    try:
        return processed.find_by_digest(data_dir, tags[schema.DATASET], tags[schema.DATASET_DIGEST]).test.images
    except DataError as error:
        reporter.note(f"The page shows no images. {error}")
        return None


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by their names; each is there whole, or as it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with disk.new_file(folder / name) as incoming:
                incoming.write_bytes(content)
    except OSError as error:
        raise DataError(f"output: expected a folder to write to, received {folder}: {reason(error)}.") from None


def _tell(contents: Contents, parent: str | None, output: Path | None, reporter: Reporter) -> None:
    columns = ("", "seeds", "val accuracy %", "test accuracy %", "test cost", "train s", "s/epoch", "parameters")
    reporter.table(columns, [_row(group) for group in contents.groups])
    for verdict in contents.verdicts:
        reporter.result(pairwise_tests.sentence(verdict))
    if contents.advice:
        reporter.result(contents.advice.sentence)
    if output is not None:
        reporter.note(f"Look at {output / PAGE}.")
    if parent is not None:
        reporter.note(f"Run {parent} holds the report, in {schema.COMPARISON_FOLDER}/.")


def _row(group: Group) -> list[str]:
    return [
        group.label,
        str(len(group.seeds)),
        group.spread(schema.BEST_VAL_ACCURACY).text(2, scale=100),
        group.spread(schema.TEST_ACCURACY).text(2, scale=100),
        group.spread(schema.TEST_COST).text(4),
        group.seconds_text,
        formatting.three_digits(group.epoch_seconds),
        f"{group.parameters:,}",
    ]
