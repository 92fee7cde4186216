"""A comparison as an MLflow run: open it, train its runs, make the runs of its groups, and report.

A group is a run between the comparison and the runs of one configuration, so that the UI compares configurations:
``cost`` of a group is the mean of its runs' ``cost``; ``cost_sd``, ``cost_min`` and ``cost_max`` are logged with it, as
for every metric. Reused runs are also members, but keep their parents.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pandas as pd

from pipeline import disk
from pipeline.comparison import grouping, report
from pipeline.comparison.grouping import Group
from pipeline.data.splits import DataSet
from pipeline.errors import TrainingError
from pipeline.evaluation import figures
from pipeline.execution import grid
from pipeline.execution.executors import Executor
from pipeline.execution.job import run_jobs
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.training import identity, resuming

PER_EPOCH = (schema.COST, schema.ACCURACY, schema.VAL_COST, schema.VAL_ACCURACY)
ROWS = 28  # assumed rows of an image, to estimate roughly how long a run takes

ONCE = (*schema.OF_A_FINISHED_TRAINING, *schema.CLASS_AVERAGES, schema.CPU_SECONDS)


# --- its own run ----------------------------------------------------------------------------------------------------


def opened(trainings: Sequence[Settings], data: DataSet, *, remote: bool) -> AbstractContextManager[str]:
    """Open the run of a comparison, or resume the same comparison if it was interrupted; the context is its ID.

    Args:
        trainings: the parameters of each run.
        data: the data of all runs.
        remote: whether they are trained on a cluster.

    Raises:
        UsageError: two runs have the same effective parameters on this data.
    """
    return opened_as(
        schema.COMPARED,
        identity.parent_name("compare", trainings, data.name),
        disk.text_digest(*(identity.fingerprint(settings, data) for settings in trainings)),
        data,
        grid.shared([identity.parameters(settings, data) for settings in trainings]),
        data_dir=trainings[0].data_dir,
        remote=remote,
    )


@contextmanager
def opened_as(
    kind: str,
    name: str,
    fingerprint: str,
    data: DataSet,
    parameters: Mapping[str, object],
    *,
    data_dir: Path,
    remote: bool,
) -> Iterator[str]:
    """Open a parent run of any kind, or resume an interrupted one with the same fingerprint."""
    existing, state = resuming.find_run(fingerprint, data_dir, remote=remote)
    resume = existing if state is resuming.RunState.INTERRUPTED and not lifecycle.project_run() else None
    with resuming.open_run(
        kind, name, fingerprint, data, parameters, data_dir=data_dir, resume=resume, remote=remote
    ) as run:
        store.mark(run.run_id, run.run_id)
        lifecycle.log_input(run.run_id, data, "test")
        yield run.run_id


# --- its runs -------------------------------------------------------------------------------------------------------


def planned(trainings: Sequence[Settings], data: DataSet) -> dict[str, str]:
    """Return the state of each run by its name, such as ``new`` or ``reused``, without training.

    Raises:
        TrackingError: the tracking server does not answer.
        UsageError: a parameter does not fit the data.
    """
    names = identity.run_names(trainings, data.name)
    if not connection.is_there():
        return dict.fromkeys(names, "new")
    connection.connect()
    states = [resuming.find_run(identity.fingerprint(each, data), each.data_dir)[1].value for each in trainings]
    return dict(zip(names, states, strict=True))


def train(
    trainings: Sequence[Settings], data: DataSet, reporter: Reporter, *, parent: str, count: int, executor: Executor
) -> list[Group]:
    """Train the missing runs under an open run, ``count`` at a time, and report; return the groups of runs.

    Raises:
        TrainingError: a run failed; the others are done and reported.
    """
    runs = dict(zip(identity.run_names(trainings, data.name), trainings, strict=True))
    order = sorted(runs.items(), key=_steps, reverse=True)  # the longest first, so that no core waits for the last
    ended = run_jobs(order, data, reporter, parent=parent, count=count, executor=executor)
    failures = {name: ended[name].content for name in runs if ended[name].kind == "failed"}
    names = {ended[name].content: name for name in runs if name not in failures}
    finished: list[Group] = []
    if names:
        finished, left_out = grouping.select_runs([store.get_run(run_id) for run_id in names], parent)
        comparison = store.get_run(parent)
        _make_groups(comparison, data, finished, names, runs)
        report.publish(finished, left_out | failures, reporter, data_dir=trainings[0].data_dir, parent=comparison)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingError(f"{len(failures)} of {len(trainings)} runs failed. {reasons}")
    return finished


def _steps(run: tuple[str, Settings]) -> int:
    """Return roughly how many steps the layers of a run compute, from its name and its parameters."""
    _, settings = run
    steps = settings.steps or ROWS if settings.steps >= 0 else ROWS**2
    return settings.epochs * steps * settings.layers * (2 if settings.direction == "bidirectional" else 1)


# --- the runs of its groups -----------------------------------------------------------------------------------------


def _make_groups(
    comparison: schema.TrackedRun,
    data: DataSet,
    groups: Sequence[Group],
    names: Mapping[str, str],
    runs: Mapping[str, Settings],
) -> None:
    """Create the missing runs of groups, complete those that were interrupted, and move the runs of each below it.

    Args:
        comparison: the comparison's run.
        data: the data of all runs.
        groups: the finished runs.
        names: the names of the finished runs by their ids.
        runs: the parameters of all runs by their names; a group with a run that failed is not complete.
    """
    existing = {run.name: run for run in store.members(comparison) if run.tags.get(schema.KIND) == schema.GROUP}
    skipped = {identity.group_name(name) for name in runs.keys() - names.values()}
    skipped |= {name for name, run in existing.items() if run.status == "FINISHED"}
    compared = [group.cell for group in groups]
    for group in groups:
        run_name = names[group.results[0].run_id]
        if (name := identity.group_name(run_name)) in skipped:
            continue
        tags = schema.of_kind(schema.GROUP) | {f"{schema.MEMBER_OF}{comparison.run_id}": "true"}
        tags |= {"mlflow.runColor": figures.colour_of(group.cell)} if compared.count(group.cell) == 1 else {}
        made = existing.get(name) or lifecycle.create_child(comparison, name, tags)
        parameters = identity.parameters(runs[run_name], data) | {"seeds": ",".join(map(str, group.seeds))}
        store.log_parameters(made, {key: value for key, value in parameters.items() if key != "seed"})
        lifecycle.log_input(made.run_id, data, "training")
        lifecycle.log_input(made.run_id, data, "test")
        store.log_history(made.run_id, by_step(group))
        for result in group.results:
            if not result.reused:
                store.log_tags(result.run_id, {schema.PARENT: made.run_id})
        lifecycle.end(made.run_id)


def by_step(group: Group) -> dict[int, dict[str, float]]:
    """Return the metrics of a group for each epoch that all of its runs have reached; at step 0 for whole runs."""
    once = [spread(group.metrics[[metric]].T, metric).iloc[0].dropna() for metric in ONCE if metric in group.metrics]
    table = pd.concat([spread(group.history(metric), metric) for metric in PER_EPOCH], axis=1)
    epochs = {int(epoch): table.loc[epoch].dropna().to_dict() for epoch in table.index}
    return {0: {"seeds": float(len(group.seeds)), **pd.concat(once).to_dict()}, **epochs}


def spread(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return mean, sample standard deviation, lowest and highest of each row, by the names of their metrics."""
    names = [metric, f"{metric}_sd", f"{metric}_min", f"{metric}_max"]
    return values.agg(["mean", "std", "min", "max"], axis=1).set_axis(names, axis=1)
