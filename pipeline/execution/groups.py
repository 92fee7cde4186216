"""The groups of a comparison as MLflow runs: one per configuration, with the means over its seeds.

They stand between the comparison and its runs, so that the UI compares configurations: ``cost`` of a group is the mean
of its runs' ``cost``, with ``cost_sd``, ``cost_min`` and ``cost_max`` beside it, and so for each metric of an epoch and
each that is logged once. Reused runs are members, too, and stay where they are.
"""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from pipeline.comparison.grouping import Group
from pipeline.data.splits import DataSet
from pipeline.evaluation import figures
from pipeline.execution.job import Job
from pipeline.tracking import lifecycle, schema, store
from pipeline.training import fingerprints, naming

PER_EPOCH = (schema.COST, schema.ACCURACY, schema.VAL_COST, schema.VAL_ACCURACY)
ONCE = (*schema.OF_A_FINISHED_TRAINING, *schema.CLASS_AVERAGES, schema.CPU_SECONDS)


def make(
    comparison: str, data: DataSet, groups: Sequence[Group], jobs: Mapping[str, Job], failed: Collection[Job]
) -> None:
    """Make the runs of groups that are not there yet, and move the runs of their trainings below them.

    Args:
        comparison: the id of the comparison's run.
        data: that all were trained on.
        groups: the finished runs.
        jobs: the job of each, by the id of its run.
        failed: jobs that failed: their groups are not complete.
    """
    existing = {run.name: run for run in store.members(comparison) if run.tags.get(schema.KIND) == schema.GROUP}
    incomplete = {naming.group(job.name) for job in failed}
    cells = [group.cell for group in groups]
    tags = schema.of_kind(schema.GROUP) | {f"{schema.MEMBER_OF}{comparison}": "true"}
    for group in groups:
        job = jobs[group.results[0].run_id]
        name = naming.group(job.name)
        if name in incomplete or (name in existing and existing[name].status == "FINISHED"):
            continue
        if name in existing:  # it was interrupted
            lifecycle.delete_run(existing[name].run_id)
        colour = {schema.COLOUR: figures.colour_of(group.cell)} if cells.count(group.cell) == 1 else {}
        parameters = fingerprints.parameters(job.settings, data) | {"seeds": ",".join(map(str, group.seeds))}
        del parameters["seed"]
        run_id = lifecycle.create_child(comparison, name, tags | colour)
        made = store.get_run(run_id)
        store.log_parameters(made, parameters)
        lifecycle.log_inputs(made, data)
        _fill(run_id, group)


def _fill(run_id: str, group: Group) -> None:
    """Log the metrics of a group, move its runs below it, and end it."""
    store.log_history(run_id, by_epoch(group))
    once = [spread(group.metrics[[metric]].T, metric).iloc[0].dropna() for metric in ONCE if metric in group.metrics]
    store.log_metrics(run_id, {schema.SEEDS: float(len(group.seeds))} | pd.concat(once).to_dict())
    for result in group.results:
        if not result.reused:
            store.log_tags(result.run_id, {schema.PARENT: run_id})
    lifecycle.end(run_id)


def by_epoch(group: Group) -> dict[int, dict[str, float]]:
    """Return the metrics of a group for each epoch that all of its runs have reached."""
    table = pd.concat([spread(group.history(metric), metric) for metric in PER_EPOCH], axis=1)
    return {int(epoch): table.loc[epoch].dropna().to_dict() for epoch in table.index}


def spread(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return mean, sample standard deviation, lowest and highest of each row, by the names of their metrics."""
    names = [metric, f"{metric}_sd", f"{metric}_min", f"{metric}_max"]
    return values.agg(["mean", "std", "min", "max"], axis=1).set_axis(names, axis=1)
