"""Compare finished runs: one page, its tables and figures.

pipeline report --parent 4fdc…
pipeline report --filter "params.cell = 'gru'"
"""

from pathlib import Path

from pipeline.comparison import grouping
from pipeline.comparison import report as reports
from pipeline.comparison.grouping import Selection
from pipeline.comparison.report_data import Form
from pipeline.errors import UsageError
from pipeline.progress import Reporter
from pipeline.results import Comparison
from pipeline.settings import DataSettings, expanded
from pipeline.tracking import connection


def report(
    settings: DataSettings,
    reporter: Reporter,
    *,
    parent: str | None = None,
    filter: str | None = None,  # noqa: A002 - the name of the option
    output: Path = Path("report"),
    form: Form | None = None,
) -> Comparison:
    """Report on the children of a run, or on the runs that a filter matches; return the folder of the tables.

    With a ``form``, the reporter receives the report as one text, instead of its table and sentences.

    Raises:
        TrackingError: there is no such run, none is finished and evaluated, or they are of different data.
        UsageError: neither or both of ``parent`` and ``filter`` are given, or the filter is not valid.
    """
    selected = _selected(parent, filter, reporter)
    own = None if parent is None or reports.is_on(parent) else parent  # a comparison's own page is not replaced
    reports.report(selected, reporter, data_dir=settings.data_dir, parent=own, output=output, form=form)
    if own:
        reporter.note(f"The report is also an artifact of run {own}.")
    return Comparison(parent, expanded(output))


def _selected(parent: str | None, filter_string: str | None, reporter: Reporter) -> Selection:
    if (parent is None) == (filter_string is None):
        received = "neither" if parent is None else "both"
        raise UsageError(
            f"parent, filter: exactly one of them must be given; got {received}. parent is the ID of a comparison, "
            "filter an MLflow filter that matches training runs."
        )
    connection.connect(reporter.note)
    return grouping.select_children(parent) if parent is not None else grouping.select_matching(str(filter_string))
