"""`pipeline report` on real runs, and its errors."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.comparison.report_data import ReportData
from tests.integration.conftest import DIGITS, Command, one_line, run_id_in

OPTIONS = "digits-units=16-lr=0.01-epochs=3"
"""The data and the parameters in the names of the runs."""

CHARTS = ("test_accuracy", "differences", "training_cost", "validation_accuracy", "accuracy_by_seconds")
FILES = {"report.html", "runs.csv", "summary.csv", "pairwise_tests.csv"} | {f"{name}.png" for name in CHARTS}


def tagged(run_id: str, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        MlflowClient().set_tag(run_id, name, value)


def child_of(parent: str) -> dict[str, str]:
    """Return the tags of a run that a comparison has trained."""
    return {"mlflow.parentRunId": parent, f"comparison.{parent}": "true"}


@pytest.fixture
def made() -> Iterator[Callable[..., str]]:
    """Return a function that creates a run without training; the runs are deleted after the test."""
    client, run_ids = MlflowClient(), list[str]()

    def make(name: str, like: Run | None = None, *, status: str = "FINISHED", **tags: str) -> str:
        run_ids.append(client.create_run("0", run_name=name, tags=tags).info.run_id)
        own = {"cell": "lstm", "seed": "3"} if like is None else like.data.params
        for param, value in own.items():
            client.log_param(run_ids[-1], param, value)
        for metric, number in (like.data.metrics if like and status == "FINISHED" else {}).items():
            client.log_metric(run_ids[-1], metric, number)
        client.set_terminated(run_ids[-1], status)
        return run_ids[-1]

    yield make
    for run_id in run_ids:
        client.delete_run(run_id)


@pytest.fixture(scope="module")
def digits(digits_run: str) -> Run:
    return mlflow.get_run(digits_run)


@pytest.fixture(scope="module")
def parent(command: Command, digits: Run) -> str:
    """Return a run with two children and a reused run."""
    parent = str(MlflowClient().create_run("0", run_name="compare").info.run_id)
    MlflowClient().set_terminated(parent)
    for seed in (1, 2):
        run_id = run_id_in(command(*DIGITS, "--cell", "rnn", "--seed", seed).output)
        tagged(run_id, {"family": "small", **child_of(parent)})
    tagged(digits.info.run_id, {"family": "small", f"comparison.{parent}": "true"})
    return parent


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the charts in tests of the selection of runs."""

    def tables(data: ReportData) -> dict[str, bytes]:
        return {"runs.csv": data.runs().to_csv(index=False).encode(), "left_out.txt": str(data.left_out).encode()}

    monkeypatch.setattr("pipeline.comparison.report.files", tables)


def test_the_children_of_a_run_are_reported_in_a_folder_on_that_run_and_in_the_terminal(
    command: Command, parent: str, digits: Run, tmp_path: Path
) -> None:
    result = command("report", "--parent", parent, "--output", tmp_path)

    names = {path.name for path in tmp_path.iterdir()}
    assert names == FILES
    assert names == {Path(file.path).name for file in MlflowClient().list_artifacts(parent, "comparison")}
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert [f"gru-{OPTIONS}-s1", f"rnn-{OPTIONS}-s1", f"rnn-{OPTIONS}-s2"] == sorted(runs["name"])
    assert [digits.info.run_id] == runs.loc[runs["reused"], "run_id"].to_list()
    accuracies = [mlflow.get_run(run_id).data.metrics["test_accuracy"] for run_id in runs["run_id"]]
    assert accuracies == pytest.approx(runs["test_accuracy"].to_list())
    row = next(line for line in result.output.splitlines() if line.startswith("rnn "))
    of_rnn = runs.loc[runs["group"] == "rnn", "test_accuracy"]
    assert f"{100 * statistics.mean(of_rnn):.2f} ± {100 * statistics.stdev(of_rnn):.2f}" in row
    page = f"Open {tmp_path / 'report.html'}."
    for said in ("cannot be tested with fewer than 3 seeds each; 5 are better.", "Undecided: ", page):
        assert said in one_line(result)


def test_without_the_data_the_page_of_the_entry_point_shows_no_images_and_its_run_is_below_the_comparison(
    parent: str, tmp_path: Path, entry_point: Callable[..., Run]
) -> None:
    run = entry_point("report", parent=parent, output=tmp_path, data_dir=tmp_path / "none")

    assert "The test examples are not available" in (tmp_path / "report.html").read_text()
    assert ("report", "FINISHED", parent) == (run.info.run_name, run.info.status, run.data.tags["mlflow.parentRunId"])


@pytest.mark.usefixtures("undrawn")
def test_a_child_that_failed_is_named_with_its_reason_and_an_interrupted_one_does_not_count_if_done_again(
    command: Command, parent: str, digits: Run, made: Callable[..., str], tmp_path: Path
) -> None:
    failed = made("lstm-s1", status="FAILED", error="not finite", **child_of(parent))
    digest = digits.data.tags["dataset_digest"]
    again = made("gru-s1", digits, status="KILLED", dataset_digest=digest, **child_of(parent))

    command("report", "--parent", parent, "--output", tmp_path)

    assert f"'lstm-s1 ({failed})': 'not finite'" in (tmp_path / "left_out.txt").read_text()
    assert again not in (tmp_path / "runs.csv").read_text()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("tags.role = 'parent'", "matches none."),
        ("tags.role = 'broken'", "finished and evaluated; got none. gru-s9 ("),
        ("tags.role = 'stopped'", "lacks test_accuracy, test_cost,"),
        ("tags.role = 'empty'", "run_id: must be a run that has training/history.csv; got '"),
        (
            "tags.role = 'mixed'",
            "must have the same data; got 2 data sets: digits-11111111, mnist-ca67ca67.",
        ),
        ("tags.family = 'small'", "output: must be a folder that can be written to"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_runs_that_cannot_be_compared_are_named(
    command: Command, parent: str, digits: Run, made: Callable[..., str], *, query: str, said: str
) -> None:
    Path("file").touch()
    tagged(parent, {"role": "parent"})
    made("gru-s9", status="FAILED", role="broken", error="it broke")
    made("lstm-s3", status="KILLED", role="stopped")
    made("gru-s7", digits, role="empty", dataset_digest="x")
    for dataset, digest in (("digits", "1" * 64), ("mnist", "ca67" * 16)):
        made("gru-s8", digits, role="mixed", dataset=dataset, dataset_digest=digest)

    assert said in one_line(command("report", "--filter", query, "--output", "file", exit_code=1))
