"""Compare trainings that have finished: one page, its tables and figures.

    pipeline report --parent 4fdc…
    pipeline report --filter "tags.comparison = 'first'"

All is read from the runs; of the data only the test images are needed, and
without them the page shows everything but those.
"""

import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pipeline.cells import Cell
from pipeline.comparison import grouping, page
from pipeline.comparison.drawing import count_of
from pipeline.comparison.grouping import Group, Result
from pipeline.data import folders, processed
from pipeline.errors import DataError, TrackingError, UsageError
from pipeline.progress import Reporter
from pipeline.tracking import store

ARTIFACT_FOLDER = "comparison"

Run = Any  # MLflow's, whose own type only store.py knows


def report(
    reporter: Reporter, *, parent: str | None, filter_string: str | None, data_dir: Path, output: Path
) -> list[Group]:
    """Report on the children of a run, or on the runs that a filter matches; return the groups that they make up.

    Raises:
        TrackingError: there is no such run, none that is a finished and evaluated training, or they are of
            different data.
        UsageError: neither or both of ``parent`` and ``filter_string``, or it is no filter.
    """
    if (parent is None) == (filter_string is None):
        received = "neither" if parent is None else "both"
        raise UsageError(
            f"parent, filter: expected one of the two, received {received}. Name the parent run of a comparison, "
            "or an MLflow filter that matches its trainings."
        )
    store.connect()
    runs = _children(parent) if parent is not None else _matches(str(filter_string))
    runs, failures = _without_failures(_without_superseded(runs))
    taken_over = [run.info.run_id for run in runs if parent is not None and not store.is_child(run, parent)]
    return report_on(
        parent,
        [run.info.run_id for run in runs],
        data_dir=data_dir,
        output=output,
        reporter=reporter,
        taken_over=taken_over,
        failures=failures,
    )


def report_on(
    parent_run_id: str | None,
    run_ids: Sequence[str],
    *,
    data_dir: Path,
    output: Path | None,
    reporter: Reporter,
    taken_over: Collection[str] = (),
    failures: Mapping[str, str] | None = None,
) -> list[Group]:
    """Report on finished trainings; return the groups that they make up.

    Args:
        parent_run_id: the run that gets page, tables and figures as artifacts, in ``comparison/``; None: none does.
        run_ids: the trainings, at least one.
        data_dir: where the processed data is looked for, for the test images.
        output: folder that gets page, tables and figures; None: none does.
        reporter: is told the summary, the verdicts, and where the page is.
        taken_over: those of ``run_ids`` that an earlier comparison trained.
        failures: reasons by the names of trainings that broke down.

    Raises:
        DataError: ``output`` cannot be written.
        TrackingError: a run is not finished or not evaluated, or they are of different data.
    """
    runs = [store.get_run(run_id) for run_id in run_ids]
    _check_complete(runs)
    _check_one_data(runs)
    loaded = [_load(run, taken_over=run.info.run_id in taken_over) for run in runs]
    groups = grouping.grouped(result for result, _ in loaded)
    _note_twins(groups, runs, reporter)
    contents = page.files(
        groups, class_names=loaded[0][1], images=_test_images(runs[0], data_dir, reporter), failures=failures
    )
    if parent_run_id is not None:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), contents)
            store.log_folder(parent_run_id, Path(folder), ARTIFACT_FOLDER)
    if output is not None:
        _write(folders.expanded(output), contents)
    _tell(groups, parent_run_id, output, reporter)
    return groups


# --- which runs -----------------------------------------------------------------------------------------------------


def _children(parent: str) -> list[Run]:
    trainings = [run for run in store.children_of(parent) if _is_training(run)]
    if not trainings:
        raise TrackingError(
            f"parent: expected a run with trainings as its children, received {parent!r}, which has none. "
            "Name the run of a comparison, or use --filter."
        )
    return trainings


def _matches(filter_string: str) -> list[Run]:
    matches = store.find_runs(filter_string)
    trainings = [run for run in matches if _is_training(run)]
    if not trainings:
        received = f"{count_of(len(matches), 'run')}, none of them a training" if matches else "none"
        raise TrackingError(
            f"filter: expected {filter_string!r} to match trainings of this experiment, received {received}. "
            "See the runs with: mlflow ui. Choose another experiment with MLFLOW_EXPERIMENT_NAME."
        )
    return trainings


def _is_training(run: Run) -> bool:
    """Return whether a run is a training, rather than a comparison or another stage."""
    return "cell" in run.data.params and "seed" in run.data.params


def _missing(run: Run) -> list[str]:
    return [name for name in grouping.REQUIRED_METRICS if name not in run.data.metrics]


def _without_superseded(runs: Sequence[Run]) -> list[Run]:
    """Leave out what did not finish, where the same training was done again and did."""
    done = {_identity(run) for run in runs if not _missing(run)}
    return [run for run in runs if not _missing(run) or _identity(run) not in done]


def _identity(run: Run) -> tuple[Any, ...]:
    return grouping.configuration(run.data.params), run.data.params["seed"], run.data.tags.get("dataset_digest")


def _without_failures(runs: Sequence[Run]) -> tuple[list[Run], dict[str, str]]:
    """Return the runs but those that failed, and the reasons of these, by their names."""
    failed = [run for run in runs if run.info.status == "FAILED" and _missing(run)]
    reasons = {_name(run): run.data.tags.get("error", "no reason recorded") for run in failed}
    if len(failed) == len(runs):
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise TrackingError(f"Expected finished trainings, received only such that failed. {listed}")
    return [run for run in runs if run not in failed], reasons


def _name(run: Run) -> str:
    return f"{run.info.run_name} ({run.info.run_id})"


def _check_complete(runs: Sequence[Run]) -> None:
    lacking = {_name(run): _missing(run) for run in runs}
    if problems := [f"{name} lacks {', '.join(missing)}" for name, missing in lacking.items() if missing]:
        raise TrackingError(
            f"Expected finished and evaluated trainings, received {len(problems)} that are not: {'; '.join(problems)}. "
            "Repeat the command that trains them, evaluate them with `pipeline evaluate --run-id`, or leave them out "
            "with a filter."
        )


def _check_one_data(runs: Sequence[Run]) -> None:
    by_data = defaultdict(list)
    for run in runs:
        tags = run.data.tags
        by_data[f"{tags.get('dataset', 'unknown')}-{tags.get('dataset_digest', '')[:8]}"].append(_name(run))
    if len(by_data) > 1:
        listed = "; ".join(f"{data}: {', '.join(names)}" for data, names in sorted(by_data.items()))
        raise TrackingError(
            f"Expected trainings of one data set, received {len(by_data)} of them. {listed}. "
            "Choose one with a filter, such as \"tags.dataset = 'mnist'\"."
        )


# --- what they hold -------------------------------------------------------------------------------------------------


def _load(run: Run, *, taken_over: bool) -> tuple[Result, list[str]]:
    """Return the result of a run, and the names of its classes."""
    history = store.load_table(run.info.run_id, "training/history.csv")
    answers = store.load_table(run.info.run_id, "evaluation/predictions.parquet")
    result = Result(
        run_id=run.info.run_id,
        name=run.info.run_name,
        cell=cast(Cell, run.data.params["cell"]),
        seed=int(run.data.params["seed"]),
        params=run.data.params,
        metrics=run.data.metrics,
        history=history,
        labels=answers["label"].to_numpy(),
        predicted=answers["predicted"].to_numpy(),
        tags=run.data.tags,
        finished=run.info.end_time or run.info.start_time,
        taken_over=taken_over,
    )
    return result, [column.removeprefix("p_") for column in answers.columns if column.startswith("p_")]


def _test_images(run: Run, data_dir: Path, reporter: Reporter) -> Any:
    """Return the test images (N, H, W) of the data that a run was trained on, or None where it is not there."""
    tags = run.data.tags
    try:
        return processed.find_by_digest(data_dir, tags["dataset"], tags["dataset_digest"]).test.images
    except DataError as error:
        reporter.note(f"The page shows no images. {error}")
        return None


def _note_twins(groups: Sequence[Group], runs: Sequence[Run], reporter: Reporter) -> None:
    counted = {result.run_id for group in groups for result in group.results}
    if left := [_name(run) for run in runs if run.info.run_id not in counted]:
        reporter.note(f"Of trainings with the same parameters and seed the latest counts. Left out: {', '.join(left)}.")


# --- what is handed over --------------------------------------------------------------------------------------------


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by their names; each is there whole, or as it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            incoming = folder / f".incoming-{name}"
            incoming.write_bytes(content)
            incoming.replace(folder / name)
    except OSError as error:
        raise DataError(f"output: expected a folder to write to, received {folder}: {error.strerror}.") from None


def _tell(groups: Sequence[Group], parent_run_id: str | None, output: Path | None, reporter: Reporter) -> None:
    columns = ("", "seeds", "val accuracy %", "test accuracy %", "test cost", "train s", "s/epoch", "parameters")
    reporter.table(columns, [_row(group) for group in groups])
    for verdict in grouping.verdicts(groups):
        reporter.note(page.sentence(verdict))
    if len(groups) > 1:
        reporter.note(f"Recommended, by validation: {grouping.recommended(groups).label}.")
    if output is not None:
        reporter.note(f"Look at {folders.expanded(output) / 'report.html'}.")
    if parent_run_id is not None:
        reporter.note(f"Run {parent_run_id} holds the report, in {ARTIFACT_FOLDER}/.")


def _row(group: Group) -> list[str]:
    return [
        group.label,
        str(len(group.seeds)),
        group.spread("best_val_accuracy").text(2, scale=100),
        group.spread("test_accuracy").text(2, scale=100),
        group.spread("test_cost").text(4),
        group.seconds_text,
        grouping.three_digits(group.epoch_seconds),
        f"{group.parameters:,}",
    ]
