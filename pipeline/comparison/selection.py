"""Select the runs to compare, and read their results."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group, Result, count_of
from pipeline.disk import SHORT
from pipeline.errors import TrackingError, UsageError
from pipeline.evaluation import metrics
from pipeline.settings import command, option
from pipeline.tracking import lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The runs that are compared: results of those that finished, and reasons by the names of those that failed."""

    results: Sequence[Result]
    failures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def groups(self) -> list[Group]:
        """The results by configuration."""
        return grouping.grouped(self.results)


def of_parent(parent: str) -> Selection:
    """Return the runs of a comparison; of a search those that confirm it, not its trials.

    Raises:
        TrackingError: there is no such run, it has no finished runs, or they are of different data.
    """
    trials = {trial["run_id"] for trial in store.get_run(parent).trials.values()}
    runs = [run for run in store.members(parent) if run.is_training and run.run_id not in trials]
    if not runs:
        raise TrackingError(
            f"parent must be a run that has training runs as children; got {parent!r}, which has none. "
            f"Name the run of a comparison, or choose runs with {option('filter')}."
        )
    return _without_failures(runs, parent)


def of_filter(filter_string: str) -> Selection:
    """Return the training runs that an MLflow filter matches.

    Raises:
        TrackingError: it matches no finished training runs, or they are of different data.
        UsageError: it is not a valid filter.
    """
    if not filter_string.strip():
        raise UsageError(
            "filter must be an MLflow filter such as \"params.cell = 'gru'\"; got an empty one, which would "
            "match every run."
        )
    matches = store.find_runs(filter_string)
    runs = [run for run in matches if run.is_training]
    if not runs:
        received = f"{count_of(len(matches), 'run')}, none of them a training" if matches else "none"
        raise TrackingError(
            f"filter must match training runs of this experiment; {filter_string!r} matches {received}. "
            "List the runs with: pipeline runs. Choose another experiment with MLFLOW_EXPERIMENT_NAME."
        )
    return _without_failures(runs)


def of_runs(
    run_ids: Sequence[str], *, parent: str | None = None, failures: Mapping[str, str] | None = None
) -> Selection:
    """Return runs by their ids.

    Args:
        run_ids: of the runs.
        parent: the comparison that they are part of; what another one has trained is reused.
        failures: reasons by the names of runs that failed.

    Raises:
        TrackingError: a run is not finished or not evaluated, or they are of different data.
    """
    return _selected([store.get_run(run_id) for run_id in run_ids], parent, failures or {})


def _without_failures(runs: Sequence[TrackedRun], parent: str | None = None) -> Selection:
    """Select runs except those that failed, and those that did not finish but were repeated and then did."""

    def identity(run: TrackedRun) -> tuple[object, ...]:
        digest = run.tags.get(schema.DATASET_DIGEST)
        return grouping.configuration(_params(run)), run.params["seed"], digest

    done = {identity(run) for run in runs if not run.missing}
    current = [run for run in runs if not run.missing or identity(run) not in done]
    failed = [run for run in current if run.status == "FAILED" and run.missing]
    reasons = {_name(run): run.tags.get(schema.ERROR, "no reason recorded") for run in failed}
    if len(failed) == len(current):
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise TrackingError(f"Finished runs are needed to compare; all of them failed. {listed}")
    return _selected([run for run in current if run not in failed], parent, reasons)


def _selected(runs: Sequence[TrackedRun], parent: str | None, failures: Mapping[str, str]) -> Selection:
    if problems := [f"{_name(run)} lacks {', '.join(run.missing)}" for run in runs if run.missing]:
        raise TrackingError(
            f"Runs must be finished and evaluated to be compared; {len(problems)} are not: {'; '.join(problems)}. "
            "Repeat the command that trains them, evaluate them with "
            f"`{command('evaluate', run_id='RUN_ID')}`, or leave them out with a filter."
        )
    by_data = defaultdict(list)
    for run in runs:
        data = f"{run.tags.get(schema.DATASET, 'unknown')}-{run.tags.get(schema.DATASET_DIGEST, '')[:SHORT]}"
        by_data[data].append(_name(run))
    if len(by_data) > 1:
        listed = "; ".join(f"{data}: {', '.join(names)}" for data, names in sorted(by_data.items()))
        raise TrackingError(
            f"Runs must be of one data set to be compared; got {len(by_data)} data sets. {listed}. "
            "Choose one with a filter, such as \"tags.dataset = 'mnist'\"."
        )
    return Selection(results=[_load(run, parent) for run in runs], failures=failures)


def _name(run: TrackedRun) -> str:
    return f"{run.name} ({run.run_id})"


def _params(run: TrackedRun) -> dict[str, str]:
    """Return the params of a run, and the file of a custom cell among them: another file is another network."""
    cell_file = {name: f"sha256:{run.tags[name][:SHORT]}" for name in (schema.CELL_FILE,) if name in run.tags}
    return dict(run.params) | cell_file


def _load(run: TrackedRun, parent: str | None) -> Result:
    history = store.load_table(run.run_id, schema.HISTORY)
    answers = store.load_table(run.run_id, schema.PREDICTIONS)
    averages = metrics.class_averages(answers["label"].to_numpy(), answers["predicted"].to_numpy())
    return Result(
        run_id=run.run_id,
        name=run.name,
        params=_params(run),
        metrics=dict(zip(schema.CLASS_AVERAGES, averages, strict=True)) | dict(run.metrics),
        history=history,
        answers=answers,
        tags=run.tags,
        finished=run.ended or run.started,
        reused=parent is not None and not store.belongs_to(run, parent),
        address=lifecycle.page_of(run),
    )
