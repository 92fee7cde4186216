"""A search with real runs that is killed and repeated, and its runs in MLflow."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import Command, begin, history, models_of, newest, run_id_in

SMALL = {"dataset": "digits", "hidden_units": 8, "epochs": 9, "workers": 1}
RANGES = ("learning_rate=1e-3..3e-2:log", "batch_size=64,128,256")
SEARCH = [
    "search",
    "--cell",
    "gru",
    "--trials",
    "5",
    "--confirm",
    "1",
    "--register",
    "searched",
    "--data-dir",
    "searched",
]
SEARCH += [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
SEARCH += [word for each in RANGES for word in ("--range", each)]


def trials(search: Run) -> dict[str, Run]:
    """Return the trials of a search by their names."""
    query = f"tags.`mlflow.parentRunId` = '{search.info.run_id}' and tags.kind = 'training'"
    found = mlflow.search_runs(filter_string=query, output_format="list")
    return {run.info.run_name: run for run in found if "-t" in run.info.run_name}


@pytest.fixture(scope="module")
def output(command: Command) -> str:
    """Return the output of a search that was killed in its second trial and then repeated."""
    with begin(*SEARCH, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        epochs = (line for line in process.stdout if "   trains   " in line and "%" in line)
        assert [number for number, _ in zip(range(14), epochs, strict=False)][13:]
        os.killpg(process.pid, signal.SIGKILL)
    return command(*SEARCH).output


@pytest.fixture(scope="module")
def search(output: str) -> Run:
    return newest("tags.kind = 'search'")


def test_each_trial_is_a_run_below_the_search_that_has_not_seen_the_test_images(search: Run) -> None:
    found = trials(search)
    assert [f"gru-t{number}" for number in range(1, 6)] == sorted(found)
    assert ("FINISHED", "search-gru-digits") == (search.info.status, search.info.run_name)
    assert {"learning_rate": "0.001", "batch_size": "128"}.items() <= found["gru-t1"].data.params.items()  # the start
    query = f"tags.kind = 'search' and attributes.start_time >= {search.info.start_time}"
    assert 1 == len(mlflow.search_runs(filter_string=query, output_format="list"))
    for run in found.values():
        assert "FINISHED" == run.info.status
        if run.info.run_id != search.data.tags["best_run_id"] or "promotion" not in run.data.tags:
            assert not [name for name in run.data.metrics if name.startswith("test_")]
        contexts = [entry.dataset.name for entry in (run.inputs.dataset_inputs if run.inputs else ())]
        assert ["digits-training"] == contexts


def test_trials_end_early_or_are_complete_and_the_best_complete_one_wins_and_is_trained_again_by_its_command(
    search: Run, output: str, command: Command
) -> None:
    whole = {name: run for name, run in trials(search).items() if "pruned" not in run.data.tags}
    assert 0 < len(whole) < 5
    for name, run in trials(search).items():
        epochs = 9 if name in whole else run.data.metrics["stopped_epoch"]
        assert (epochs, int(name in whole)) == (len(history(run.info.run_id, "val_accuracy")), len(models_of(run)))

    winner = whole[search.data.tags["best_trial"]]
    best = max(run.data.metrics["best_val_accuracy"] for run in whole.values())
    assert best == winner.data.metrics["best_val_accuracy"] == search.data.metrics["best_val_accuracy"]
    assert winner.info.run_id == search.data.tags["best_run_id"]
    for name in ("learning_rate", "batch_size"):
        assert float(winner.data.params[name]) == float(search.data.tags[f"best.{name}"])
    assert winner.info.run_id == MlflowClient().get_model_version_by_alias("searched", "champion").run_id

    printed = output.partition("Train it again: pipeline ")[2].splitlines()[0].split()
    assert history(winner.info.run_id) == history(run_id_in(command(*printed, "--new").output))


def test_it_has_a_page_with_its_figures_and_confirms_the_winner_with_new_seeds(search: Run, output: str) -> None:
    names = {Path(file.path).name for file in MlflowClient().list_artifacts(search.info.run_id, "search")}
    assert {"search.html", "trials.csv", "trials.png"} <= names
    page = mlflow.artifacts.load_text(f"{search.info.artifact_uri}/search/search.html")
    assert "gru-t5" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    query = f"tags.`comparison.{search.info.run_id}` = 'true' and tags.kind = 'training'"
    runs = mlflow.search_runs(filter_string=query, output_format="list")
    assert {"2"} == {run.data.params["seed"] for run in runs if "test_accuracy" in run.data.metrics} - {"1"}
    assert "fewer than 3 seeds" in output or "Nothing better than the start" in output


def test_the_entry_point_searches_and_uninterrupted_its_trials_are_the_same(
    search: Run, made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_point: Callable[..., Run]
) -> None:
    expected = {name: history(run.info.run_id) for name, run in trials(search).items() if name < "gru-t4"}
    other = shutil.copy(made_store, tmp_path / "other.db")  # where no trial is reused
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")

    run = entry_point("search", trials=3, range=" ".join(RANGES), **SMALL, confirm=0, data_dir=str(tmp_path))

    assert ("search-gru-digits", "3") == (run.info.run_name, run.data.params["trials"])
    assert expected == {name: history(trial.info.run_id) for name, trial in trials(run).items()}
