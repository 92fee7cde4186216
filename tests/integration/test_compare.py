"""Comparisons of real runs: killed, repeated, reused, partly failed, and against another run."""

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

SMALL = ("--dataset", "digits", "--hidden-units", "12", "--learning-rate", "0.01", "--epochs", "40")
OPTIONS = "digits-units=12-lr=0.01-epochs=40"
"""The data and the parameters in the names of its runs."""

COMPARE = ("compare", "--cells", "rnn,gru", "--seeds", "1,2", "--register", "compared", *SMALL)
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def below(parent: str, kind: str) -> dict[str, Run]:
    """Return the child runs of a kind, by their names."""
    query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.kind = '{kind}'"
    return {run.info.run_name: run for run in mlflow.search_runs(filter_string=query, output_format="list")}


def trainings(parent: str) -> dict[str, Run]:
    """Return the runs that a comparison has trained; they are below a group when all runs of the group have ended."""
    groups = below(parent, "group").values()
    return below(parent, "training") | {
        name: run for group in groups for name, run in below(group.info.run_id, "training").items()
    }


def members(parent: str) -> set[str]:
    """Return the ids of the runs of a comparison, including reused ones."""
    query = f"tags.`comparison.{parent}` = 'true' and tags.kind = 'training'"
    return {run.info.run_id for run in mlflow.search_runs(filter_string=query, output_format="list")}


def wait_for_checkpoints(process: "subprocess.Popen[str]", data_dir: Path, count: int) -> None:
    """Wait until this number of runs have finished an epoch."""
    while len(list((data_dir / "checkpoints").glob("*/checkpoint.npz"))) < count:
        assert process.poll() is None
        time.sleep(0.02)


@pytest.fixture(scope="module")
def data(store: Path) -> tuple[str, str]:
    return "--data-dir", str(store / "compared")


@pytest.fixture(scope="module")
def repeated(store: Path, data: tuple[str, str]) -> str:
    """Return the log of a comparison that was killed after the first epoch of a run, and then repeated."""
    with begin(*COMPARE, *data, "--workers", 1, stdout=subprocess.DEVNULL) as process:
        wait_for_checkpoints(process, store / "compared", 1)
        os.killpg(process.pid, signal.SIGKILL)
    begun = {run.info.run_id for run in mlflow.search_runs(output_format="list") if run.info.status == "RUNNING"}

    with begin(*COMPARE, *data, **PIPES) as process:
        output, error = process.communicate()

    assert ([], 0) == (beyond_the_start(error), process.returncode)
    parent = run_id_in(output)
    assert begun <= {parent} | {run.info.run_id for run in trainings(parent).values()}  # no second run was started
    return output


@pytest.fixture(scope="module")
def parent(repeated: str) -> str:
    return run_id_in(repeated)


def test_a_comparison_that_was_killed_trains_only_the_rest(repeated: str, parent: str) -> None:
    runs = trainings(parent)

    assert "resumes" in repeated
    assert {f"rnn-{OPTIONS}-s1", f"rnn-{OPTIONS}-s2", f"gru-{OPTIONS}-s1", f"gru-{OPTIONS}-s2"} == runs.keys()
    for run in [mlflow.get_run(parent), *runs.values()]:
        assert "FINISHED" == run.info.status
        assert f"comparison.{parent}" in run.data.tags
        for metric in run.data.metrics:
            steps = [step for step, _ in history(run.info.run_id, metric)]
            assert len(set(steps)) == len(steps), metric
    assert {run.info.run_id for run in runs.values()} == members(parent)


def test_in_a_log_it_is_whole_lines_of_text(repeated: str) -> None:
    assert "\x1b" not in repeated
    assert "\r" not in repeated
    assert re.search(rf"^gru-{OPTIONS}-s2   (trains|resumes)   40/40   ", repeated, re.MULTILINE)
    assert repeated.splitlines()[-1].startswith("Run ")


def test_a_group_holds_mean_and_spread_of_its_trainings_by_epoch(parent: str) -> None:
    groups, found = below(parent, "group"), trainings(parent)
    assert {f"rnn-{OPTIONS}", f"gru-{OPTIONS}"} == groups.keys()
    group = groups[f"gru-{OPTIONS}"]
    pairs = list(zip(*(history(found[f"gru-{OPTIONS}-s{seed}"].info.run_id) for seed in (1, 2)), strict=True))

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
    for run in (group, mlflow.get_run(parent)):
        assert run.inputs
        assert 2 == len(run.inputs.dataset_inputs)


def test_in_parallel_the_numbers_are_those_of_a_run_alone(command: Command, parent: str, data: tuple[str, str]) -> None:
    alone = mlflow.get_run(run_id_in(command("run", *SMALL, "--cell", "gru", "--seed", 2, "--new", *data).output))

    compared = trainings(parent)[f"gru-{OPTIONS}-s2"]
    assert history(alone.info.run_id) == history(compared.info.run_id)
    assert alone.data.metrics["test_cost"] == compared.data.metrics["test_cost"]
    assert alone.data.params == compared.data.params
    mlflow.delete_run(alone.info.run_id)  # the next comparison would reuse it


def test_its_run_holds_parameters_and_report_and_the_recommended_tagged_and_registered_cell_are_one(
    command: Command, repeated: str, parent: str, tmp_path: Path
) -> None:
    run = mlflow.get_run(parent)
    assert "compare-rnn-gru-digits" == run.info.run_name
    shared = {"cells": "rnn,gru", "seeds": "1,2", "hidden_units": "12", "dataset": "digits"}
    assert shared.items() <= run.data.params.items()
    files = {Path(file.path).name for file in MlflowClient().list_artifacts(parent, "comparison")}
    assert {"report.html", "runs.csv", "summary.csv", "pairwise_tests.csv"} <= files

    best = max(below(parent, "group").values(), key=lambda group: group.data.metrics["best_val_accuracy"])
    cell = best.data.params["cell"]
    assert cell == run.data.tags["best"]
    for metric in ("best_val_accuracy", "test_accuracy", "test_macro_f1", "test_balanced_accuracy", "test_cost"):
        assert best.data.metrics[metric] == pytest.approx(run.data.metrics[metric])
    champion = mlflow.get_run(str(MlflowClient().get_model_version_by_alias("compared", "champion").run_id)).data
    reached = [each.data.metrics["best_val_accuracy"] for each in below(best.info.run_id, "training").values()]
    assert (cell, max(reached)) == (champion.params["cell"], champion.metrics["best_val_accuracy"])
    assert f"Undecided: {cell} leads. " in " ".join(repeated.split())  # because two seeds are too few

    page = Path(mlflow.artifacts.download_artifacts(f"runs:/{parent}/comparison/report.html", dst_path=str(tmp_path)))
    before = page.read_bytes()
    command("report", "--parent", parent, "--output", tmp_path / "report")
    summary = pd.read_csv(tmp_path / "report" / "summary.csv")
    assert [cell] == summary.loc[summary["recommended"], "group"].to_list()
    mlflow.artifacts.download_artifacts(f"runs:/{parent}/comparison/report.html", dst_path=str(tmp_path))
    assert before == page.read_bytes()  # a report does not change the report of the comparison


def test_a_worker_that_is_killed_leaves_its_run_failed_and_a_signal_ends_the_others_as_killed(store: Path) -> None:
    # Epochs are slow enough for SQLite; otherwise MLflow prints the traceback of a write that waits.
    options = ("--dataset", "digits", "--epochs", "100000", "--hidden-units", "512", "--steps", "32", "--workers", 2)
    folder = store / "interrupted"
    with begin("compare", "--cells", "rnn", "--seeds", "7,8", *options, "--data-dir", folder, **PIPES) as process:
        wait_for_checkpoints(process, folder, 2)
        workers = [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]
        workers[0].kill()
        assert process.stdout is not None
        assert any("failed" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate()

    assert (130, False) == (process.returncode, "Traceback" in error)
    runs = below(newest("attributes.run_name = 'compare-rnn-digits'").info.run_id, "training").values()
    assert {"FAILED": "Its process ended by SIGKILL.", "KILLED": "Stopped by Ctrl-C or a termination signal."} == {
        run.info.status: run.data.tags["error"] for run in runs
    }
    assert "KILLED" == newest("attributes.run_name = 'compare-rnn-digits'").info.status


def test_finished_runs_are_reused_and_a_failure_stops_no_other_run(
    command: Command, parent: str, data: tuple[str, str]
) -> None:
    before = trainings(parent)

    arguments = ("compare", "--cells", "rnn", "--seeds", "1,2", *SMALL, *data, "--learning-rate", "0.01,1e38")
    output = command(*arguments, "--workers", 1, exit_code=1).output

    failed = [f"rnn-digits-units=12-lr=1e+38-epochs=40-s{seed}" for seed in (1, 2)]
    assert f"2 of 4 runs failed. {failed[0]}: Training stopped" in output
    second = newest("attributes.run_name = 'compare-rnn-digits'")
    assert "FAILED" == second.info.status
    assert {*failed} == trainings(second.info.run_id).keys()
    assert before[f"rnn-{OPTIONS}-s1"].info.run_id in members(parent) & members(second.info.run_id)
    assert before.keys() == trainings(parent).keys()  # no run was moved
    page = mlflow.artifacts.load_text(f"{second.info.artifact_uri}/comparison/report.html")
    assert "reused" in page
    assert "Training stopped in" in page


def test_a_comparison_worse_than_its_reference_ends_with_code_3_and_is_not_registered(
    command: Command, parent: str, data: tuple[str, str]
) -> None:
    arguments = ("compare", "--cells", "rnn", "--seeds", "1-3", *SMALL, *data, "--workers", 1)
    gru, client = trainings(parent)[f"gru-{OPTIONS}-s1"], MlflowClient()

    checked = ("--epochs", "1", "--against", gru.info.run_id, "--register", "checked")
    output = one_line(command(*arguments, *checked, exit_code=3))

    assert f"against: rnn against {gru.info.run_id}: worse, −" in output
    assert "It is not registered as checked." in output
    assert [] == list(client.search_registered_models("name = 'checked'"))
    run = newest("attributes.run_name = 'compare-rnn-digits'")
    assert ("FINISHED", "worse", gru.info.run_id) == (
        *(run.info.status, run.data.tags["standing"]),
        run.data.tags["against"],
    )

    before = run_count()
    client.set_tag(gru.info.run_id, "dataset_digest", "0" * 64)
    refused = [
        one_line(command(*arguments, "--epochs", "2", "--against", address, exit_code=exit_code))
        for address, exit_code in (("models:/nothing@champion", 1), (gru.info.run_id, 2))
    ]
    client.set_tag(gru.info.run_id, "dataset_digest", gru.data.tags["dataset_digest"])

    assert "must be the URI of a model that a run has logged; got 'models:/nothing@champion'" in refused[0]
    assert "against: must be trained on the same data" in refused[1]
    assert before == run_count()  # the model is looked up before any training
