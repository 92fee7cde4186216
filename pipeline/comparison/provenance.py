"""Groups to what their numbers depend on: parameters, data, code and machine, and which times can be compared."""

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

from pipeline.comparison.grouping import IGNORED_PARAMS, Group, Result, configuration
from pipeline.settings import Settings
from pipeline.tracking import schema

MAIN = ("recipe", "epochs", "hidden_units", "learning_rate", "batch_size")
"""The parameters that every page names; others where they are not the defaults, or differ."""

_TAGS = {
    "Data set": schema.DATASET,
    "Digest of the data": schema.DATASET_DIGEST,
    "Machine": schema.MACHINE,
    "Commit of the code": schema.COMMIT,
}
_NO_GPU = "no GPU"  # the end of the tag of a machine without one; with one, processors wait in the best of cases
_TOLERANCE = 1.25  # of wall time to processor time, beyond what the cores explain


def conditions(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return what the numbers depend on, as pairs of a term and its value; several values where they differ."""
    params = {
        group.label: {"recipe": group.results[0].params.get("recipe", "")}
        | dict(configuration(group.results[0].params))
        for group in groups
    }
    defaults = dict(configuration({field.name: str(getattr(Settings(), field.name)) for field in fields(Settings)}))
    names = [*MAIN, *sorted({name for each in params.values() for name in each} - {*MAIN, *IGNORED_PARAMS, "cell"})]
    rows = []
    for name in names:
        labels: dict[str, list[str]] = {}
        for label, each in params.items():
            labels.setdefault(each.get(name, ""), []).append(label)
        if labels.keys() - {"", *([] if name in MAIN else [defaults.get(name)])}:
            texts = [
                f"{value} ({', '.join(of)})" if len(labels) > 1 else value for value, of in labels.items() if value
            ]
            rows.append((name.replace("_", " ").capitalize(), "; ".join(texts)))
    results = [result for group in groups for result in group.results]
    packages = sorted({name for result in results for name in result.tags if name.startswith(schema.VERSION)})
    versions = [f"{tag.removeprefix(schema.VERSION)} {_tagged(results, tag)}" for tag in packages]
    return [
        *rows,
        *((term, _tagged(results, tag)) for term, tag in _TAGS.items()),
        ("Packages", ", ".join(versions) or "not recorded"),
        ("Test images", f"{len(results[0].answers):,}"),
    ]


def _tagged(results: Sequence[Result], tag: str) -> str:
    return " and ".join(sorted({result.tags[tag] for result in results if tag in result.tags})) or "not recorded"


class Timing(NamedTuple):
    """The times that a page compares: wall time on a quiet machine, processor time on a busy one.

    Attributes:
        metric: in seconds.
        noun: its name, such as 'processor time'.
        is_comparable: whether the times of one group can be compared with another's.
        note: how they were measured.
    """

    metric: str
    noun: str
    is_comparable: bool
    note: str


def timing(groups: Sequence[Group]) -> Timing:
    """Return which times of these groups can be compared."""
    results = [result for group in groups for result in group.results]
    machines = {result.tags.get(schema.MACHINE) for result in results}
    cores = {result.tags.get(schema.CORES, "an unknown number of") for result in results}
    is_busy = any(map(_has_waited, groups))
    if is_busy and len(machines) == 1 and all(schema.CPU_SECONDS in group.metrics for group in groups):
        note = "The machine was busy, so processor time is compared, of all threads together."
        return Timing(schema.CPU_SECONDS, "processor time", True, note)
    if is_busy or len(machines) > 1 or len(cores) > 1:
        cause = "the machine was busy" if is_busy else "machines or numbers of cores differ"
        return Timing(schema.TRAIN_SECONDS, "time", False, f"Do not compare the times: {cause}.")
    return Timing(schema.TRAIN_SECONDS, "time", True, f"Measured with {cores.pop()} cores per run.")


def _has_waited(group: Group) -> bool:
    """Return whether the cores do not explain the wall time of a run: it waited for a processor.

    On a quiet machine the wall time of a run is at most its processor time. How much less it is depends on the
    configuration, so the seed that waited least is the measure of the others.
    """
    paces = [
        result.metrics[schema.TRAIN_SECONDS] / result.metrics[schema.CPU_SECONDS]
        for result in group.results
        if result.metrics.get(schema.CPU_SECONDS) and result.tags.get(schema.MACHINE, _NO_GPU).endswith(_NO_GPU)
    ]
    return any(pace > _TOLERANCE * min([1.0, *paces]) for pace in paces)
