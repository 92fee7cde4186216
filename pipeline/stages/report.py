"""Compare trainings that have finished: one page, its tables and figures.

pipeline report --parent 4fdc…
pipeline report --filter "tags.comparison = 'first'"
"""

from pathlib import Path

from pipeline.comparison import report as reports
from pipeline.comparison import selection, tables
from pipeline.comparison.grouping import Group
from pipeline.comparison.selection import Selection
from pipeline.comparison.tables import Form
from pipeline.errors import UsageError
from pipeline.progress import Notes, Reporter
from pipeline.tracking import connection


def report(
    reporter: Reporter,
    *,
    parent: str | None,
    filter_string: str | None,
    data_dir: Path,
    output: Path,
    form: Form | None = None,
) -> list[Group]:
    """Report on the children of a run, or on the runs that a filter matches; return the groups that they make up.

    With a ``form`` the reporter is told the report as one text, in place of its table and verdicts.

    Raises:
        TrackingError: there is no such run, none that is a finished and evaluated training, or they are of
            different data.
        UsageError: neither or both of ``parent`` and ``filter_string``, or it is no filter.
    """
    selected = _selected(parent, filter_string, reporter)
    told = Notes(reporter) if form else reporter
    own = None if parent is None or reports.is_on(parent) else parent  # a comparison's own page stays as it was made
    groups = reports.report(selected, told, data_dir=data_dir, parent=own, output=output)
    if form:
        reporter.result(tables.report_text(groups, form).rstrip("\n"))
    return groups


def _selected(parent: str | None, filter_string: str | None, reporter: Reporter) -> Selection:
    if (parent is None) == (filter_string is None):
        received = "neither" if parent is None else "both"
        raise UsageError(
            f"parent, filter: expected one of the two, received {received}. Name the parent run of a comparison, "
            "or an MLflow filter that matches its trainings."
        )
    connection.connect(reporter.note)
    return selection.of_parent(parent) if parent is not None else selection.of_filter(str(filter_string))
