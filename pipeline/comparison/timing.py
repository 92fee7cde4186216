"""Which seconds of trainings may be compared: wall time on a quiet machine, processor time on a busy one."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.comparison.formatting import count_of
from pipeline.comparison.grouping import Group, Result
from pipeline.tracking import schema

_NO_GPU = "no GPU"  # how the tag of a machine without one ends; with one, processors wait in the best of cases
_TOLERANCE = 1.25  # of wall time to processor time, beyond what the cores explain


class Timing(NamedTuple):
    """The seconds that a page compares.

    Attributes:
        metric: which.
        noun: what they are called, such as 'processor time'.
        comparable: whether those of one group say anything about another's.
        said: how they were measured, in sentences.
    """

    metric: str
    noun: str
    comparable: bool
    said: str


def timing(groups: Sequence[Group]) -> Timing:
    """Return which seconds of these groups compare."""
    results = [result for group in groups for result in group.results]
    machines = {result.tags[schema.MACHINE] for result in results if schema.MACHINE in result.tags}
    elsewhere = f"They are of {len(machines)} machines: do not compare them." if len(machines) > 1 else ""
    waited = [result for group in groups for result in _waited(group)]
    if waited and has_processor_time(groups):
        told = f"{_busy(waited, results)} So processor time is compared, of all threads of a training together."
        return Timing(schema.CPU_SECONDS, "processor time", not elsewhere, f"{told} {elsewhere}".rstrip())
    told = f"{_busy(waited, results)} Do not compare its seconds." if waited else elsewhere
    same_cores = len({result.cores for result in results}) == 1
    return Timing(schema.TRAIN_SECONDS, "time", same_cores and not told, f"{cores_sentence(results)} {told}".rstrip())


def has_processor_time(groups: Sequence[Group]) -> bool:
    """Return whether the processor time of every training is known."""
    return all(schema.CPU_SECONDS in result.metrics for group in groups for result in group.results)


def cores_sentence(results: Sequence[Result]) -> str:
    """Return with how many cores the seconds were measured: they compare only where those are the same."""
    counts = Counter(result.cores for result in results)
    if set(counts) == {""}:
        return "How many cores each training had was not recorded."
    if len(counts) == 1:
        cores = next(iter(counts))
        return f"Seconds were measured with {cores} {'core' if cores == '1' else 'cores'} per training."
    parts = [
        f"{cores or 'an unknown number'} ({count_of(count, 'training')})" for cores, count in sorted(counts.items())
    ]
    return (
        f"Seconds were measured with differing numbers of cores per training, {', '.join(parts)}: do not compare them."
    )


def _waited(group: Group) -> list[Result]:
    """Return the trainings whose wall time their cores do not explain: they waited for a processor.

    On a quiet machine a training works all the time, with one thread or more: its wall time is at most its processor
    time. How much less it is depends on the configuration, so the seed that waited least is what others are held to.
    """
    paces = {
        result.run_id: result.metrics[schema.TRAIN_SECONDS] / result.metrics[schema.CPU_SECONDS]
        for result in group.results
        if result.metrics.get(schema.CPU_SECONDS) and result.tags.get(schema.MACHINE, _NO_GPU).endswith(_NO_GPU)
    }
    quiet = min([1.0, *paces.values()])
    return [result for result in group.results if paces.get(result.run_id, 0) > _TOLERANCE * quiet]


def _busy(waited: Sequence[Result], results: Sequence[Result]) -> str:
    """Return how many waited, and the one that did so the longest: its wall time and its processor time."""
    worst = max(waited, key=lambda result: result.metrics[schema.TRAIN_SECONDS] / result.metrics[schema.CPU_SECONDS])
    wall, processor = worst.metrics[schema.TRAIN_SECONDS], worst.metrics[schema.CPU_SECONDS]
    return (
        f"The machine was busy: {len(waited)} of {count_of(len(results), 'training')} waited for a processor, "
        f"{worst.name} for example: {wall:,.1f} s of wall time, {processor:,.1f} s of processor time."
    )
