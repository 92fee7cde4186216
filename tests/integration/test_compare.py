"""Comparisons of real runs: interrupted, repeated, reused, partly failed, and against another run."""

import os
import re
import signal
import statistics
import subprocess
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import Command, begin, history, newest, one_line, run_count, run_id_in
from tests.unit.test_startup import beyond_the_start

SMALL = (
    "--dataset",
    "digits",
    "--hidden-units",
    "12",
    "--learning-rate",
    "0.01",
    "--epochs",
    "25",
    "--data-dir",
    "compared",
)
OPTIONS = "digits-units=12-lr=0.01-epochs=25"
"""The data and the parameters in the names of its runs."""

COMPARE = ("compare", "--cells", "rnn,gru", "--seeds", "1,2", "--register", "compared", *SMALL)
SHORT = ("compare", "--cells", "rnn", "--seeds", "1-3", *SMALL, "--epochs", "1", "--workers", 1)


def found(query: str) -> dict[str, Run]:
    """Return the runs that match a query, by their names."""
    return {run.info.run_name: run for run in mlflow.search_runs(filter_string=query, output_format="list")}


def groups(parent: str) -> dict[str, Run]:
    return found(f"tags.`mlflow.parentRunId` = '{parent}' and tags.kind = 'group'")


def members(parent: str) -> dict[str, Run]:
    """Return the trainings of a comparison, including reused ones."""
    return found(f"tags.`comparison.{parent}` = 'true' and tags.kind = 'training'")


@pytest.fixture(scope="module")
def interrupted(store: Path) -> list[Run]:
    """Kill the process of the first run of a comparison, and stop it during the second; return the runs, last first."""

    def wait_for_checkpoints(count: int) -> None:
        while len(list(Path("compared/checkpoints").glob("*/checkpoint.npz"))) < count:
            assert process.poll() is None
            time.sleep(0.02)

    with begin(*COMPARE, "--workers", 1, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for_checkpoints(1)
        (worker,) = [
            each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())
        ]
        worker.kill()
        wait_for_checkpoints(2)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate()

    assert ["Error: Stopped. If an MLflow run was open, it is marked KILLED."] == beyond_the_start(error)
    assert 130 == process.returncode
    return mlflow.search_runs(output_format="list", max_results=3)


@pytest.fixture(scope="module")
def repeated(interrupted: list[Run], command: Command) -> str:
    """Return the output of the same comparison, repeated."""
    return command(*COMPARE).output


@pytest.fixture(scope="module")
def parent(repeated: str) -> str:
    return run_id_in(repeated)


def test_a_worker_that_is_killed_leaves_its_run_failed_and_a_signal_ends_the_others_as_killed(
    interrupted: list[Run],
) -> None:
    last, first, comparison = interrupted
    assert ("KILLED", "compare-rnn-gru-digits") == (comparison.info.status, comparison.info.run_name)
    assert ("FAILED", "Its process ended by SIGKILL.") == (first.info.status, first.data.tags["error"])
    assert ("KILLED", "Stopped by Ctrl-C or a termination signal.") == (last.info.status, last.data.tags["error"])


def test_the_same_command_resumes_the_same_runs_trains_the_rest_and_logs_whole_lines(
    interrupted: list[Run], repeated: str, parent: str
) -> None:
    runs = members(parent)
    assert {f"rnn-{OPTIONS}-s1", f"rnn-{OPTIONS}-s2", f"gru-{OPTIONS}-s1", f"gru-{OPTIONS}-s2"} == runs.keys()
    assert {run.info.run_id for run in interrupted} <= {parent, *(run.info.run_id for run in runs.values())}
    for run in [mlflow.get_run(parent), *runs.values()]:
        assert "FINISHED" == run.info.status
        for metric in run.data.metrics:
            steps = [step for step, _ in history(run.info.run_id, metric)]
            assert len(set(steps)) == len(steps), metric

    assert "resumes" in repeated
    assert not re.search(r"[\x1b\r]", repeated)
    assert re.search(rf"^gru-{OPTIONS}-s2   (trains|resumes)   25/25   ", repeated, re.MULTILINE)
    assert repeated.splitlines()[-1].startswith("Run ")


def test_a_group_holds_mean_and_spread_of_its_trainings_by_epoch(parent: str) -> None:
    runs = members(parent)
    assert {f"rnn-{OPTIONS}", f"gru-{OPTIONS}"} == groups(parent).keys()
    group = groups(parent)[f"gru-{OPTIONS}"]
    pairs = list(zip(*(history(runs[f"gru-{OPTIONS}-s{seed}"].info.run_id) for seed in (1, 2)), strict=True))

    for name, spread in (
        ("cost", statistics.mean),
        ("cost_sd", statistics.stdev),
        ("cost_min", min),
        ("cost_max", max),
    ):
        expected = [(step, spread([first, second])) for (step, first), (_, second) in pairs]
        np.testing.assert_allclose(history(group.info.run_id, name), expected)
    assert 2 == group.data.metrics["seeds"]
    assert {"cell": "gru", "seeds": "1,2", "hidden_units": "12"}.items() <= group.data.params.items()
    assert "FINISHED" == group.info.status
    assert group.inputs
    assert 2 == len(group.inputs.dataset_inputs)


def test_in_parallel_the_numbers_are_those_of_a_run_alone(command: Command, parent: str) -> None:
    alone = mlflow.get_run(run_id_in(command("run", *SMALL, "--cell", "gru", "--seed", 2, "--new").output))

    compared = members(parent)[f"gru-{OPTIONS}-s2"]
    assert history(alone.info.run_id) == history(compared.info.run_id)
    assert alone.data.metrics["test_cost"] == compared.data.metrics["test_cost"]
    assert alone.data.params == compared.data.params
    mlflow.delete_run(alone.info.run_id)  # the next comparison would reuse it


def test_its_run_holds_parameters_and_report_and_the_recommended_tagged_and_registered_cell_are_one(
    command: Command, repeated: str, parent: str, tmp_path: Path
) -> None:
    run = mlflow.get_run(parent)
    shared = {"cells": "rnn,gru", "seeds": "1,2", "hidden_units": "12", "dataset": "digits"}
    assert shared.items() <= run.data.params.items()
    files = {Path(file.path).name for file in MlflowClient().list_artifacts(parent, "comparison")}
    assert {"report.html", "runs.csv", "summary.csv", "pairwise_tests.csv"} <= files

    best = max(groups(parent).values(), key=lambda group: group.data.metrics["best_val_accuracy"])
    cell = best.data.params["cell"]
    assert cell == run.data.tags["best"]
    for metric in ("best_val_accuracy", "test_accuracy", "test_macro_f1", "test_balanced_accuracy", "test_cost"):
        assert best.data.metrics[metric] == pytest.approx(run.data.metrics[metric])
    champion = mlflow.get_run(str(MlflowClient().get_model_version_by_alias("compared", "champion").run_id)).data
    of_best = found(f"tags.`mlflow.parentRunId` = '{best.info.run_id}'").values()
    reached = max(each.data.metrics["best_val_accuracy"] for each in of_best)
    assert (cell, reached) == (champion.params["cell"], champion.metrics["best_val_accuracy"])
    assert f"Undecided: {cell} leads. " in " ".join(repeated.split())  # because two seeds are too few

    page = f"{run.info.artifact_uri}/comparison/report.html"
    before = mlflow.artifacts.load_text(page)
    command("report", "--parent", parent, "--output", tmp_path)
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert [cell] == summary.loc[summary["recommended"], "group"].to_list()
    assert before == mlflow.artifacts.load_text(page)  # a report does not change the report of the comparison


@pytest.fixture(scope="module")
def partly_failed(command: Command, interrupted: list[Run]) -> Run:
    """Return a comparison of two learning rates; one is too high."""
    output = command(*SHORT, "--learning-rate", "0.01,1e38", exit_code=1).output

    assert "3 of 6 runs failed. rnn-digits-units=12-lr=1e+38-epochs=1-s1: Training stopped" in output
    return newest("attributes.run_name = 'compare-rnn-digits'")


def test_a_failure_stops_no_other_run(partly_failed: Run) -> None:
    assert "FAILED" == partly_failed.info.status
    names = {f"rnn-digits-units=12-lr={rate}-epochs=1-s{seed}" for rate in ("0.01", "1e+38") for seed in (1, 2, 3)}
    assert names == members(partly_failed.info.run_id).keys()
    page = mlflow.artifacts.load_text(f"{partly_failed.info.artifact_uri}/comparison/report.html")
    assert "Training stopped in" in page


def test_a_comparison_of_reused_runs_worse_than_its_reference_ends_with_code_3_and_is_not_registered(
    command: Command, parent: str, partly_failed: Run
) -> None:
    gru, client = members(parent)[f"gru-{OPTIONS}-s1"], MlflowClient()

    output = one_line(command(*SHORT, "--against", gru.info.run_id, "--register", "checked", exit_code=3))

    assert f"against: worse. {gru.info.run_id} is better than rnn by " in output
    assert "It is not registered as checked." in output
    assert [] == list(client.search_registered_models("name = 'checked'"))
    run = newest("attributes.run_name = 'compare-rnn-digits'")
    assert "FINISHED" == run.info.status
    assert ("worse", gru.info.run_id) == (run.data.tags["standing"], run.data.tags["against"])
    assert "reused" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/comparison/report.html")
    earlier = members(partly_failed.info.run_id)
    for name, reused in members(run.info.run_id).items():
        assert earlier[name].info.run_id == reused.info.run_id
        assert earlier[name].data.tags["mlflow.parentRunId"] == reused.data.tags["mlflow.parentRunId"]  # not moved

    before = run_count()
    client.set_tag(gru.info.run_id, "dataset_digest", "0" * 64)
    refused = [
        one_line(command(*SHORT, "--seeds", 4, "--against", address, exit_code=exit_code))
        for address, exit_code in (("models:/nothing@champion", 1), (gru.info.run_id, 2))
    ]
    client.set_tag(gru.info.run_id, "dataset_digest", gru.data.tags["dataset_digest"])

    assert "must be the URI of a model that a run has logged; got 'models:/nothing@champion'" in refused[0]
    assert "against: must be trained on the same data" in refused[1]
    assert before == run_count()  # the model is looked up before any training
