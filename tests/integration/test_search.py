"""Searches of real trainings: uninterrupted, killed and repeated, in vain, and what they leave in MLflow."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import Command, environment

SMALL = ("--dataset", "digits", "--hidden-units", "8", "--epochs", "9", "--workers", "1", "--confirm", "1")
RANGES = ("--range", "learning_rate=1e-3..3e-2:log", "--range", "batch_size=64,128,256")
SEARCH = ("search", "--cell", "gru", "--trials", "5", *SMALL, *RANGES)


def search_run(run_id: str | None = None) -> Run:
    """Return a search by its id, or the newest."""
    if run_id:
        return mlflow.get_run(run_id)
    return mlflow.search_runs(filter_string="tags.kind = 'search'", output_format="list", max_results=1)[0]


def trials(search: Run) -> dict[str, Run]:
    """Return the trials of a search by their names."""
    query = f"tags.`mlflow.parentRunId` = '{search.info.run_id}' and tags.kind = 'training'"
    found = mlflow.search_runs(filter_string=query, output_format="list")
    return {run.info.run_name: run for run in found if "-t" in run.info.run_name}


def histories(search: Run) -> dict[str, list[tuple[int, float]]]:
    """Return the costs of each trial of a search, by epoch."""
    return {
        name: [(entry.step, entry.value) for entry in MlflowClient().get_metric_history(run.info.run_id, "cost")]
        for name, run in trials(search).items()
    }


@pytest.fixture(scope="module")
def data(store: Path) -> tuple[str, str]:
    return "--data-dir", str(store / "searched")


@pytest.fixture(scope="module")
def told(store: Path, command: Command, data: tuple[str, str]) -> str:
    """Return what a search that is not interrupted says."""
    return command(*SEARCH, *data, "--register", "searched").output


@pytest.fixture(scope="module")
def search(told: str) -> Run:
    return search_run()


def test_each_trial_is_a_run_below_the_search(search: Run) -> None:
    found = trials(search)
    assert [f"gru-t{number}" for number in range(1, 6)] == sorted(found)
    assert ("FINISHED", "search-gru-digits") == (search.info.status, search.info.run_name)
    assert {"FINISHED"} == {run.info.status for run in found.values()}
    assert {"learning_rate": "0.001", "batch_size": "128"}.items() <= found["gru-t1"].data.params.items()  # the start


def test_a_trial_that_was_ended_early_has_its_history_and_no_model(search: Run) -> None:
    pruned = [run for run in trials(search).values() if run.data.tags.get("pruned") == "true"]
    whole = [run for run in trials(search).values() if "pruned" not in run.data.tags]
    assert pruned
    assert whole
    for run in [*pruned, *whole]:
        models = MlflowClient().search_logged_models(
            [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        epochs = len(MlflowClient().get_metric_history(run.info.run_id, "val_accuracy"))
        assert (epochs, len(models)) == ((9, 1) if run in whole else (run.data.metrics["stopped_epoch"], 0))


def test_no_trial_has_seen_the_test_images(search: Run) -> None:
    for run in trials(search).values():
        if run.info.run_id != search.data.tags["best_run_id"] or "promotion" not in run.data.tags:
            assert not [name for name in run.data.metrics if name.startswith("test_")]
        contexts = [entry.dataset.name for entry in (run.inputs.dataset_inputs if run.inputs else ())]
        assert ["digits-training"] == contexts


def test_the_winner_is_the_best_on_validation(search: Run) -> None:
    whole = {name: run for name, run in trials(search).items() if "pruned" not in run.data.tags}
    best = max(run.data.metrics["best_val_accuracy"] for run in whole.values())
    winner = whole[search.data.tags["best_trial"]]
    assert best == winner.data.metrics["best_val_accuracy"]
    assert winner.info.run_id == search.data.tags["best_run_id"]
    for name in ("learning_rate", "batch_size"):
        assert float(winner.data.params[name]) == float(search.data.tags[f"best.{name}"])
    assert winner.info.run_id == MlflowClient().get_model_version_by_alias("searched", "champion").run_id


def test_it_holds_a_page_with_its_figures(search: Run) -> None:
    names = {Path(file.path).name for file in MlflowClient().list_artifacts(search.info.run_id, "search")}
    assert {"search.html", "trials.csv", "progress.png", "curves.png", "parallel.png", "parameters.png"} <= names
    page = mlflow.artifacts.load_text(f"{search.info.artifact_uri}/search/search.html")
    assert "gru-t5" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_winner_is_confirmed_with_seeds_that_the_search_has_not_seen(search: Run, told: str) -> None:
    query = f"tags.`comparison.{search.info.run_id}` = 'true' and tags.kind = 'training'"
    runs = mlflow.search_runs(filter_string=query, output_format="list")
    assert {"2"} == {run.data.params["seed"] for run in runs if "test_accuracy" in run.data.metrics} - {"1"}
    assert "it takes at least 3" in told or "Nothing better than the start" in told


def test_the_command_that_it_prints_trains_the_winner_again(
    search: Run, told: str, data: tuple[str, str], command: Command
) -> None:
    printed = told.partition("Train it again: pipeline ")[2].splitlines()[0].split()
    again = command(*printed, "--new").output.rpartition("Run ")[2].split()[0]
    history = [(entry.step, entry.value) for entry in MlflowClient().get_metric_history(again, "cost")]
    assert histories(search)[search.data.tags["best_trial"]] == history


@pytest.mark.slow
def test_killed_and_repeated_it_has_the_same_trials(
    search: Run, command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/killed.db")  # where no trial has a twin
    data = ("--data-dir", str(tmp_path / "data"), "--confirm", "0")  # the trials alone are compared
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *SEARCH, *data],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for_epochs(process, 14)  # in the second trial
        os.killpg(process.pid, signal.SIGKILL)
    command(*SEARCH, *data)

    repeated = search_run()
    killed = histories(repeated)
    assert 1 == len(mlflow.search_runs(filter_string="tags.kind = 'search'", output_format="list"))
    assert "FINISHED" == repeated.info.status
    monkeypatch.undo()
    assert histories(search) == killed


def wait_for_epochs(process: "subprocess.Popen[str]", count: int) -> None:
    """Wait until a log says so often that an epoch has ended; each line that shows one counts."""
    assert process.stdout is not None
    for line in process.stdout:
        count -= "   trains   " in line and "%" in line
        if not count:
            return
    pytest.fail("it ended before")


def test_the_entry_point_searches(told: str, data: tuple[str, str], entry_point: Callable[..., Run]) -> None:
    small = {"dataset": "digits", "hidden_units": 8, "epochs": 9, "workers": 1, "confirm": 0, "data-dir": data[1]}
    ranges = "learning_rate=1e-3..3e-2:log batch_size=64,128,256"

    run = entry_point("search", trials=2, range=ranges, **small)

    assert ("search-gru-digits", "2") == (run.info.run_name, run.data.params["trials"])
    assert {} == trials(run)  # both were trained before, and stay where they are


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--range", "lerning_rate=1..2"), "Did you mean learning_rate?"),
        (("--range", "dropout=0.5..0.1"), "with LOW below HIGH"),
        (("--range", "dropout=0..0.5", "--dropout", "0.1"), "expected a value or a range, received both"),
        (("--trials", "0"), "trials"),
        (("--cell", "gru,gru"), "expected each cell once"),
        (("--range", "layers=1..2", "--range", "hidden_units=64,100000"), "must be at most 8192"),
        (("--patience", "2", "--schedule", "cosine"), "patience"),
    ],
)
def test_what_cannot_work_out_is_told_before_anything_is_trained(
    command: Command, told: str, data: tuple[str, str], arguments: tuple[str, ...], said: str
) -> None:
    before = len(mlflow.search_runs(output_format="list"))
    output = command("search", "--dataset", "digits", *arguments, *data, exit_code=2).output
    assert said in " ".join(output.split())
    assert before == len(mlflow.search_runs(output_format="list"))
