"""Which runs belong to a comparison: those that it has trained, and those that it has reused, which stay elsewhere.

A run says so itself, in a tag for each comparison that it is in; several may mark it at the same time.
"""

from pipeline.tracking import schema, store
from pipeline.tracking.connection import client
from pipeline.tracking.schema import TrackedRun

LISTED = 200
"""Comparisons in the one tag by which the UI can filter, and of which MLflow keeps 8,000 characters."""


def mark(run_id: str, comparison: str) -> None:
    """Mark a run as one of a comparison's.

    The mark is a tag of its own. Then the list is written, until it holds every mark, or the last :data:`LISTED`.
    """
    client().set_tag(run_id, f"{schema.MARK}{comparison}", "true")
    while missing := (run := store.get_run(run_id)).marks - set(run.comparisons):
        if len(run.comparisons) >= LISTED and comparison not in missing:
            return
        listed = [*run.comparisons, *missing - {comparison}, *missing & {comparison}]
        client().set_tag(run_id, schema.COMPARISON, ",".join(listed[-LISTED:]))


def belongs_to(run: TrackedRun, comparison: str) -> bool:
    """Return whether a comparison has trained a run: it stands below it, or below one of its groups that is there."""
    if run.is_child_of(comparison):
        return True
    parent = store.find_run(run.tags[schema.PARENT]) if schema.PARENT in run.tags else None
    return parent is not None and parent.is_child_of(comparison)


def of(comparison: str) -> list[TrackedRun]:
    """Return the runs that name a run as their parent or as their comparison, by their start.

    Raises:
        TrackingError: there is no such run, or none of an id in the tag.
    """
    parent = store.get_run(comparison)
    found: dict[str, TrackedRun] = {}
    for query in (
        f"tags.`{schema.PARENT}` = '{comparison}'",
        f"tags.`{schema.MARK}{comparison}` = 'true'",
        f"tags.{schema.COMPARISON} LIKE '%{comparison}%'",
    ):
        children = store.find_runs(query, experiment=parent.experiment_id)
        found |= {child.run_id: child for child in children if child.run_id != comparison}
    return sorted(found.values(), key=lambda child: child.started)
