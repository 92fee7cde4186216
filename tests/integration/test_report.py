"""`pipeline report` on real runs, and what it refuses."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.comparison import selection
from pipeline.comparison.report import report as report_on
from pipeline.comparison.report_data import ReportData
from pipeline.progress import Reporter
from tests.integration.conftest import DIGITS, Command, Training, run_id_in

OPTIONS = "digits-units=16-lr=0.01-epochs=3"
"""What the names of the runs say of the data and the parameters."""

FILES = {"report.html", "runs.csv", "summary.csv", "pairwise_tests.csv"} | {
    f"{name}.png"
    for name in (
        "test_accuracy",
        "test_cost",
        "differences",
        "training_cost",
        "validation_accuracy",
        "accuracy_by_seconds",
    )
}


def tagged(run_id: str, tags: Mapping[str, str]) -> str:
    for name, value in tags.items():
        MlflowClient().set_tag(run_id, name, value)
    return run_id


def made(
    name: str,
    *,
    status: str = "FINISHED",
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Make a run that trained nothing."""
    client = MlflowClient()
    run_id = str(client.create_run("0", run_name=name, tags=dict(tags or {})).info.run_id)
    for param, value in (params or {}).items():
        client.log_param(run_id, param, value)
    client.set_terminated(run_id, status)
    return run_id


def copy_of(run_id: str) -> str:
    """Make a run of the same params, metrics and artifacts."""
    run = mlflow.get_run(run_id)
    own = {name: value for name, value in run.data.tags.items() if name in ("dataset", "dataset_digest")}
    copy = made(str(run.info.run_name), params=run.data.params, tags=own)
    for name, value in run.data.metrics.items():
        MlflowClient().log_metric(copy, name, value)
    for folder in ("training", "evaluation"):
        MlflowClient().log_artifacts(copy, mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{folder}"), folder)
    return copy


@pytest.fixture(scope="module")
def parent(command: Command, digits_run: Training) -> str:
    """Return a run with two children of its own, and one that it takes over from elsewhere."""
    parent = made("compare")
    trained = [run_id_in(command(*DIGITS, "--cell", "rnn", "--seed", seed).output) for seed in (1, 2)]
    for run_id in trained:
        tagged(run_id, {"mlflow.parentRunId": parent, "family": "small"})
    tagged(digits_run.run_id, {"family": "small", f"comparison.{parent}": "true"})
    return parent


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def written(command: Command, parent: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder that the report on ``parent`` fills, and what the terminal shows of it."""
    folder = tmp_path_factory.mktemp("report")
    return folder, command("report", "--parent", parent, "--output", folder).output


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out where a test is about which runs are taken."""
    monkeypatch.setattr("pipeline.comparison.report.files", tables)


def tables(data: ReportData) -> dict[str, bytes]:
    return {"runs.csv": data.runs().to_csv(index=False).encode(), "failures.txt": str(data.failures).encode()}


def test_the_children_of_a_run_are_reported_in_a_folder_and_on_that_run(
    written: tuple[Path, str], parent: str, digits_run: Training
) -> None:
    folder, output = written

    names = {path.name for path in folder.iterdir()}
    assert names == FILES
    assert names == {Path(file.path).name for file in MlflowClient().list_artifacts(parent, "comparison")}
    runs = pd.read_csv(folder / "runs.csv")
    assert [f"rnn-{OPTIONS}-s1", f"rnn-{OPTIONS}-s2", f"gru-{OPTIONS}-s1"] == runs["name"].to_list()
    assert [digits_run.run_id] == runs.loc[runs["reused"], "run_id"].to_list()
    accuracies = [mlflow.get_run(run_id).data.metrics["test_accuracy"] for run_id in runs["run_id"]]
    assert accuracies == pytest.approx(runs["test_accuracy"].to_list())
    assert "1 seed is too few to test; it takes at least 3, better 5." in flat(output)
    assert "Undecided: " in flat(output)


def test_the_terminal_shows_the_summary(written: tuple[Path, str]) -> None:
    folder, output = written

    runs = pd.read_csv(folder / "runs.csv").query("group == 'rnn'")
    mean, deviation = statistics.mean(runs["test_accuracy"]), statistics.stdev(runs["test_accuracy"])
    row = next(line for line in output.splitlines() if line.startswith("rnn "))
    assert f"{100 * mean:.2f} ± {100 * deviation:.2f}" in row
    assert f"Look at {folder / 'report.html'}." in output


@pytest.mark.usefixtures("undrawn")
def test_a_filter_chooses_runs(command: Command, parent: str, tmp_path: Path) -> None:
    output = command("report", "--filter", "tags.family = 'small' and params.cell = 'rnn'", "--output", tmp_path).output

    assert ["rnn", "rnn"] == pd.read_csv(tmp_path / "runs.csv")["group"].to_list()
    assert "holds the report" not in output


def test_without_the_data_the_page_shows_no_images_and_says_so(command: Command, parent: str, tmp_path: Path) -> None:
    output = command("report", "--parent", parent, "--output", tmp_path, "--data-dir", tmp_path / "none").output

    assert "The page shows no test examples." in output
    page = (tmp_path / "report.html").read_text()
    assert "The test examples are not available" in page


@pytest.mark.usefixtures("undrawn")
def test_a_child_that_failed_is_told_with_its_reason(command: Command, parent: str, tmp_path: Path) -> None:
    tags = {"mlflow.parentRunId": parent, "error": "the cost is not finite"}
    failed = made("lstm-s1", status="FAILED", params={"cell": "lstm", "seed": "1"}, tags=tags)

    command("report", "--parent", parent, "--output", tmp_path)
    MlflowClient().delete_run(failed)

    assert f"{{'lstm-s1 ({failed})': 'the cost is not finite'}}" == (tmp_path / "failures.txt").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_training_that_was_cut_off_does_not_count_where_it_was_done_again(
    command: Command, parent: str, digits_run: Training, tmp_path: Path
) -> None:
    tags = {"dataset_digest": mlflow.get_run(digits_run.run_id).data.tags["dataset_digest"], "family": "small"}
    again = made("gru-s1", status="KILLED", params=mlflow.get_run(digits_run.run_id).data.params, tags=tags)

    command("report", "--filter", "tags.family = 'small'", "--output", tmp_path)
    MlflowClient().delete_run(again)

    assert again not in (tmp_path / "runs.csv").read_text()
    assert "{}" == (tmp_path / "failures.txt").read_text()


@pytest.mark.usefixtures("undrawn")
def test_of_twins_the_earlier_one_is_left_out_by_name(command: Command, digits_run: Training, tmp_path: Path) -> None:
    twin = copy_of(digits_run.run_id)

    output = command(
        "report", "--filter", f"attributes.run_id IN ('{twin}', '{digits_run.run_id}')", "--output", tmp_path
    )

    assert f"Left out: gru-{OPTIONS}-s1 ({digits_run.run_id})." in flat(output.output)


@pytest.mark.usefixtures("undrawn")
def test_the_core_returns_its_groups_and_writes_nothing_it_was_not_asked_for(
    parent: str, digits_run: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path("data").absolute()
    monkeypatch.chdir(tmp_path)

    found = report_on(selection.of_runs([digits_run.run_id]), Reporter(), data_dir=data)

    assert ["gru"] == [group.label for group in found.groups]
    assert [] == list(tmp_path.iterdir())


def test_the_entry_point_reports_in_a_run_below_that_of_the_comparison(
    parent: str, tmp_path: Path, entry_point: Callable[..., Run]
) -> None:
    run = entry_point("report", parent=parent, output=tmp_path)

    assert (tmp_path / "report.html").exists()
    assert ("report", "FINISHED", parent) == (run.info.run_name, run.info.status, run.data.tags["mlflow.parentRunId"])


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refused",
    [
        ([], 2, "Give either parent or filter; got neither."),
        (["--parent", "a", "--filter", "tags.family = 'small'"], 2, "Give either parent or filter; got both."),
        (["--filter", " "], 2, "filter must be an MLflow filter such as"),
        (["--filter", "colour = red"], 2, "received 'colour = red'. MLflow says: "),
        (["--filter", "tags.family = 'none'"], 1, "\"tags.family = 'none'\" matches none."),
        (["--filter", "tags.role = 'parent'"], 1, "matches 1 run, none of them a training."),
        (["--filter", "tags.role = 'broken'"], 1, "all of them failed. gru-s9 ("),
        (["--parent", "0" * 32], 1, f"expected a run of this tracking server, received '{'0' * 32}'"),
        (["--parent", "{run}"], 1, "parent must be a run that has training runs as children; got '{run}'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    command: Command, parent: str, digits_run: Training, refused: tuple[list[str], int, str]
) -> None:
    arguments, exit_code, said = refused
    tagged(parent, {"role": "parent"})
    tags = {"role": "broken", "error": "it broke"}
    broken = made("gru-s9", status="FAILED", params={"cell": "gru", "seed": "9"}, tags=tags)

    typed = [argument.replace("{run}", digits_run.run_id) for argument in arguments]
    output = command("report", *typed, exit_code=exit_code).output
    MlflowClient().delete_run(broken)

    assert said.replace("{run}", digits_run.run_id) in flat(output)
    assert "Traceback" not in output


def test_runs_of_different_data_are_listed_and_not_compared(
    command: Command, parent: str, digits_run: Training, tmp_path: Path
) -> None:
    before = mlflow.get_run(digits_run.run_id).data.tags
    tagged(digits_run.run_id, {"dataset": "mnist", "dataset_digest": "ca67" * 16})
    try:
        result = command("report", "--filter", "tags.family = 'small'", "--output", tmp_path / "out", exit_code=1)
    finally:
        tagged(digits_run.run_id, {name: before[name] for name in ("dataset", "dataset_digest")})

    said = flat(result.output)
    assert "Runs must be of one data set to be compared; got 2 data sets." in said
    assert f"mnist-ca67ca67: gru-{OPTIONS}-s1 ({digits_run.run_id})" in said
    assert "digits-" in said
    assert not (tmp_path / "out").exists()


def test_runs_that_are_not_finished_or_not_evaluated_are_named(command: Command, parent: str) -> None:
    params = {"cell": "lstm", "seed": "3"}
    unfinished = made("lstm-s3", status="KILLED", params=params, tags={"family": "small"})

    result = command("report", "--filter", "tags.family = 'small'", exit_code=1)
    MlflowClient().delete_run(unfinished)

    assert f"lstm-s3 ({unfinished}) lacks test_accuracy, test_cost," in flat(result.output)
    assert "pipeline evaluate" in result.output


def test_a_run_without_its_history_is_named(command: Command, digits_run: Training) -> None:
    whole = mlflow.get_run(digits_run.run_id)
    empty = made("gru-s7", params=whole.data.params, tags={"role": "empty", "dataset_digest": "x"})
    for name, value in whole.data.metrics.items():
        MlflowClient().log_metric(empty, name, value)

    result = command("report", "--filter", "tags.role = 'empty'", exit_code=1)

    assert f"run_id: expected a run that holds training/history.csv, received '{empty}'" in flat(result.output)


@pytest.mark.usefixtures("undrawn")
def test_an_output_that_is_a_file_is_told(command: Command, parent: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = command("report", "--parent", parent, "--output", tmp_path / "file", exit_code=1)

    assert "output must be a folder that can be written" in flat(result.output)
