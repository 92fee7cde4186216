"""Remove what is of no use any more, and end runs that say RUNNING though nobody is at them.

pipeline clean --dry-run
pipeline clean
"""

from pathlib import Path

from pipeline import disk
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.stages import cleaning
from pipeline.stages.cleaning import Finding


def clean(reporter: Reporter, *, data_dir: Path, dry_run: bool) -> list[Finding]:
    """Let go what can go, and return it.

    Args:
        reporter: told what goes, and why.
        data_dir: the folder of data, and of the checkpoints of the trainings on it.
        dry_run: only say what would go.

    Raises:
        DataError: a folder cannot be written to.
        TrackingError: the tracking server does not answer.
    """
    gone = []
    for finding in cleaning.find(expanded(data_dir), reporter):
        if dry_run or finding.go():
            gone.append(finding)
            size = f", {disk.shown(finding.size)}" if finding.size else ""
            reporter.note(f"{'Would clean' if dry_run else 'Cleaned'} {finding.what}: {finding.reason}{size}.")
    total = disk.shown(sum(finding.size for finding in gone))
    freed = f"That would free {total}. Leave out --dry-run to do it." if dry_run else f"Freed {total}."
    reporter.result(freed if gone else "There is nothing to clean.")
    return gone
