"""The groups of a comparison as MLflow runs: one per configuration, with the means over its seeds.

They stand between the comparison and its trainings, so that a tick per group in the UI compares configurations:
``cost`` of a group is the mean of its trainings' ``cost``, with ``cost_sd``, ``cost_min`` and ``cost_max`` beside it,
and so for each metric of an epoch and each that is logged once. Trainings that were taken over are members, too, and
stay where they are.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.data.splits import DataSet
from pipeline.evaluation import figures
from pipeline.execution.job import Done, Job
from pipeline.settings import Settings
from pipeline.tracking import children, lifecycle, lineage, schema, store
from pipeline.training import fingerprints, naming

PER_EPOCH = (schema.COST, schema.ACCURACY, schema.VAL_COST, schema.VAL_ACCURACY)


def make(comparison: str, data: DataSet, jobs: Sequence[Job], done: Mapping[Job, Done]) -> None:
    """Make the groups all of whose trainings have ended, unless they are there, and move the trainings below them."""
    there = {run.name: run for run in children.of(comparison) if run.tags.get(schema.KIND) == schema.GROUP}
    configurations = _configurations(jobs)
    cells = [members[0].settings.cell for members in configurations]
    for members, cell in zip(configurations, cells, strict=True):
        name = naming.group(members[0].name)
        if not all(job in done for job in members):
            continue
        if name in there:
            if there[name].status == "FINISHED":
                continue
            lifecycle.delete_run(there[name].run_id)  # cut off while it was made
        colour = figures.colour_of(cell) if cells.count(cell) == 1 else None
        _make(comparison, name, data, {job: done[job] for job in members}, colour)


def _configurations(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs that differ by their seeds alone, together."""
    groups: dict[Settings, list[Job]] = {}
    for job in jobs:
        groups.setdefault(replace(job.settings, seed=0), []).append(job)
    return list(groups.values())


def _make(comparison: str, name: str, data: DataSet, done: Mapping[Job, Done], colour: str | None) -> None:
    """Make a group; in a colour, where it is the only one of its cell: in the UI as on the page."""
    members = [store.get_run(each.run_id) for each in done.values()]
    group = lifecycle.create_child(comparison, name, schema.of_kind(schema.GROUP) | {schema.COMPARISON: comparison})
    if colour:
        store.log_tags(group, {schema.COLOUR: colour})
    parameters = fingerprints.parameters(next(iter(done)).settings, data) | {
        "seeds": ",".join(str(job.settings.seed) for job in done)
    }
    del parameters["seed"]
    made = store.get_run(group)
    store.log_parameters(made, parameters)
    lineage.log_inputs(made, data)
    store.log_history(group, _means([run.run_id for run in members]))
    once = {schema.SEEDS: float(len(members))}
    for metric in (*schema.OF_A_FINISHED_TRAINING, schema.CPU_SECONDS):
        once |= summary(metric, [run.metrics[metric] for run in members if metric in run.metrics])
    store.log_metrics(group, once)
    for each in done.values():
        if not each.taken_over:
            store.log_tags(each.run_id, {schema.PARENT: group})
    lifecycle.end(group)


def _means(run_ids: Sequence[str]) -> dict[int, dict[str, float]]:
    """Return the summaries of the metrics of each epoch that all of them have had, by the epoch."""
    means: dict[int, dict[str, float]] = {}
    for metric in PER_EPOCH:
        histories = [store.history_of(run_id, metric) for run_id in run_ids]
        for step in sorted(set.intersection(*map(set, histories))):
            means[step] = means.get(step, {}) | summary(metric, [each[step] for each in histories])
    return means


def summary(metric: str, values: Sequence[float]) -> dict[str, float]:
    """Return mean, sample standard deviation (of two values or more), lowest and highest, by their metric's names."""
    if not values:
        return {}
    spread = {f"{metric}_sd": statistics.stdev(values)} if len(values) > 1 else {}
    return {metric: statistics.fmean(values)} | spread | {f"{metric}_min": min(values), f"{metric}_max": max(values)}
