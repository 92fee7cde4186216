"""What came of a search, onto its run: tags and metrics of the winner, a page with its figures; and told."""

import tempfile
from pathlib import Path

from pipeline.comparison import formatting
from pipeline.progress import Reporter
from pipeline.tracking import schema, store
from pipeline.tuning import page
from pipeline.tuning.result import Findings

SHOWN = 5
"""The best trials, which are told in the terminal."""


def log_winner(parent: str, found: Findings) -> None:
    """Log which trial is best, and what matters; that it is logged says that the trials have ended."""
    store.log_metrics(parent, found.metrics())
    store.log_tags(parent, found.tags())


def report(parent: str, found: Findings, reporter: Reporter) -> None:
    """Keep the page on the run of a search, in ``search/``, and tell what was found."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in page.files(found).items():
            Path(folder, name).write_bytes(content)
        store.log_folder(parent, Path(folder), schema.SEARCH_FOLDER)
    store.log_tags(parent, {schema.VERDICT: found.headline})
    _tell(parent, found, reporter)


def _tell(parent: str, found: Findings, reporter: Reporter) -> None:
    ranked = sorted(found.of_state("complete"), key=lambda trial: -trial.value)[:SHOWN]
    names = found.space.names
    columns = ("best trials", "val accuracy %", "kept epoch", *names)
    rows = [
        [
            trial.name,
            f"{100 * trial.value:.2f}",
            str(trial.kept_epoch),
            *(str(trial.parameters.get(name, "")) for name in names),
        ]
        for trial in ranked
    ]
    reporter.table(columns, rows)
    reporter.result(found.counts)
    if parts := found.importance[0]:
        said = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
        reporter.result(f"What matters, after {formatting.count_of(found.importance[1], 'epoch')}: {said}.")
    reporter.result(f"{found.headline}. {found.lead}")
    reporter.result(f"Train it again: {found.command}")
    reporter.note(f"Run {parent} holds the report, in {schema.SEARCH_FOLDER}/.")
