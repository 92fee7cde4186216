"""Which runs are compared, and what each of them holds."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.comparison import grouping
from pipeline.comparison.formatting import count_of
from pipeline.comparison.grouping import Result
from pipeline.digests import SHORT
from pipeline.errors import TrackingError, UsageError
from pipeline.settings import command, option
from pipeline.tracking import children, schema, store, ui
from pipeline.tracking.schema import TrackedRun


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The trainings that a page shows.

    Attributes:
        run_ids: of those that have ended.
        taken_over: those of them that an earlier comparison trained.
        failures: reasons by the names of those that broke down.
    """

    run_ids: Sequence[str]
    taken_over: Collection[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)


def of_parent(parent: str) -> Selection:
    """Return the trainings of a comparison; of a search those that confirm it, not its trials.

    Raises:
        TrackingError: there is no such run, or it has no trainings that ended well.
    """
    trials = {trial["run_id"] for trial in store.get_run(parent).trials.values()}
    trainings = [run for run in children.of(parent) if run.is_training and run.run_id not in trials]
    if not trainings:
        raise TrackingError(
            f"parent: expected a run with trainings as its children, received {parent!r}, which has none. "
            f"Name the run of a comparison, or the trainings themselves: {option('filter')}."
        )
    ended, failures = _without_failures(_without_superseded(trainings))
    taken_over = [run.run_id for run in ended if not children.belongs_to(run, parent)]
    return Selection(run_ids=[run.run_id for run in ended], taken_over=taken_over, failures=failures)


def of_filter(filter_string: str) -> Selection:
    """Return the trainings that an MLflow filter matches.

    Raises:
        TrackingError: it matches no trainings that ended well.
        UsageError: it is no filter.
    """
    if not filter_string.strip():
        raise UsageError(
            "filter: expected an MLflow filter such as \"tags.comparison = 'first'\", received an empty one, "
            "which would match every run."
        )
    matches = store.find_runs(filter_string)
    trainings = [run for run in matches if run.is_training]
    if not trainings:
        received = f"{count_of(len(matches), 'run')}, none of them a training" if matches else "none"
        raise TrackingError(
            f"filter: expected {filter_string!r} to match trainings of this experiment, received {received}. "
            "See the runs with: mlflow ui. Choose another experiment with MLFLOW_EXPERIMENT_NAME."
        )
    ended, failures = _without_failures(_without_superseded(trainings))
    return Selection(run_ids=[run.run_id for run in ended], failures=failures)


def _without_superseded(trainings: Sequence[TrackedRun]) -> list[TrackedRun]:
    """Leave out what did not finish, where the same training was done again and did."""
    done = {_identity(run) for run in trainings if not run.missing}
    return [run for run in trainings if not run.missing or _identity(run) not in done]


def _identity(run: TrackedRun) -> tuple[Any, ...]:
    tags = run.tags.get(schema.DATASET_DIGEST), run.tags.get(schema.CELL_FILE)
    return grouping.configuration(run.params), run.params["seed"], *tags


def _without_failures(trainings: Sequence[TrackedRun]) -> tuple[list[TrackedRun], dict[str, str]]:
    """Return the runs but those that failed, and the reasons of these, by their names."""
    failed = [run for run in trainings if run.status == "FAILED" and run.missing]
    reasons = {_name(run): run.tags.get(schema.ERROR, "no reason recorded") for run in failed}
    if len(failed) == len(trainings):
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise TrackingError(f"Expected finished trainings, received only such that failed. {listed}")
    return [run for run in trainings if run not in failed], reasons


def _name(run: TrackedRun) -> str:
    return f"{run.name} ({run.run_id})"


def results_of(selection: Selection) -> tuple[list[Result], list[str]]:
    """Return what the trainings hold, and the names of their classes.

    Raises:
        TrackingError: a run is not finished or not evaluated, or they are of different data.
    """
    trainings = [store.get_run(run_id) for run_id in selection.run_ids]
    _check_complete(trainings)
    _check_one_data(trainings)
    loaded = [_load(run, taken_over=run.run_id in selection.taken_over) for run in trainings]
    return [result for result, _ in loaded], loaded[0][1]


def _check_complete(trainings: Sequence[TrackedRun]) -> None:
    lacking = {_name(run): run.missing for run in trainings}
    if problems := [f"{name} lacks {', '.join(missing)}" for name, missing in lacking.items() if missing]:
        raise TrackingError(
            f"Expected finished and evaluated trainings, received {len(problems)} that are not: {'; '.join(problems)}. "
            "Repeat the command that trains them, evaluate them with "
            f"`{command('evaluate', run_id='RUN_ID')}`, or leave them out with a filter."
        )


def _check_one_data(trainings: Sequence[TrackedRun]) -> None:
    by_data = defaultdict(list)
    for run in trainings:
        data = f"{run.tags.get(schema.DATASET, 'unknown')}-{run.tags.get(schema.DATASET_DIGEST, '')[:SHORT]}"
        by_data[data].append(_name(run))
    if len(by_data) > 1:
        listed = "; ".join(f"{data}: {', '.join(names)}" for data, names in sorted(by_data.items()))
        raise TrackingError(
            f"Expected trainings of one data set, received {len(by_data)} of them. {listed}. "
            "Choose one with a filter, such as \"tags.dataset = 'mnist'\"."
        )


def _load(run: TrackedRun, *, taken_over: bool) -> tuple[Result, list[str]]:
    """Return the result of a run, and the names of its classes."""
    history = store.load_table(run.run_id, schema.HISTORY)
    answers = store.load_table(run.run_id, schema.PREDICTIONS)
    result = Result(
        run_id=run.run_id,
        name=run.name,
        cell=run.params["cell"],
        seed=int(run.params["seed"]),
        params=run.params,
        metrics=run.metrics,
        history=history,
        labels=answers["label"].to_numpy(),
        predicted=answers["predicted"].to_numpy(),
        tags=run.tags,
        finished=run.ended or run.started,
        taken_over=taken_over,
        address=ui.page_of(run),
    )
    return result, [column.removeprefix("p_") for column in answers.columns if column.startswith("p_")]
