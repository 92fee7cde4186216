"""Comparisons of real trainings: killed, repeated, taken over, failing in part, and against a run of its own."""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.conftest import Command, environment, run_id_in

SMALL = ("--dataset", "digits", "--hidden-units", "12", "--learning-rate", "0.01", "--epochs", "40")
OPTIONS = "digits-units=12-lr=0.01-epochs=40"
"""What the names of its runs say of the data and the parameters."""

COMPARE = ("compare", "--cells", "rnn,gru", "--seeds", "1,2", *SMALL)


def below(parent: str) -> list[Run]:
    """Return the runs that name this one as their parent."""
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return list(mlflow.search_runs(filter_string=query, output_format="list"))


def groups(parent: str) -> dict[str, Run]:
    return {run.info.run_name: run for run in below(parent) if run.data.tags["kind"] == "group"}


def children(parent: str) -> dict[str, Run]:
    """Return the trainings that a comparison has done, which stand below its groups when all of a group have ended."""
    runs = [*below(parent), *(run for group in groups(parent).values() for run in below(group.info.run_id))]
    return {run.info.run_name: run for run in runs if run.data.tags["kind"] == "training"}


def members(parent: str) -> set[str]:
    """Return the ids of the trainings of a comparison, those that it has taken over among them."""
    query = f"tags.`comparison.{parent}` = 'true' and tags.kind = 'training'"
    return {run.info.run_id for run in mlflow.search_runs(filter_string=query, output_format="list")}


def costs(run_id: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in MlflowClient().get_metric_history(run_id, "cost")]


def artifacts(run_id: str) -> set[str]:
    return {Path(file.path).name for file in MlflowClient().list_artifacts(run_id, "comparison")}


def wait_for_checkpoints(process: subprocess.Popen[Any], data_dir: Path, count: int) -> None:
    """Wait until so many trainings have finished an epoch."""
    while len(list((data_dir / "checkpoints").glob("*/checkpoint.npz"))) < count:
        assert process.poll() is None
        time.sleep(0.02)


@pytest.fixture(scope="module")
def data(store: Path) -> tuple[str, str]:
    return "--data-dir", str(store / "compared")


@pytest.fixture(scope="module")
def parent(store: Path, command: Command, data: tuple[str, str]) -> str:
    """Return a comparison that was killed when a training had finished an epoch, and then repeated."""
    command("run", *SMALL, "--cell", "gru", "--epochs", 1, *data)  # so that the store and the data are there
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *COMPARE, *data],
        env=environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        wait_for_checkpoints(process, store / "compared", 1)
        os.killpg(process.pid, signal.SIGKILL)
    begun = {run.info.run_id for run in mlflow.search_runs(output_format="list") if run.info.status == "RUNNING"}

    output = command(*COMPARE, *data).output

    assert "resumes" in output
    parent = output.rpartition("Run ")[2].split()[0]
    assert begun <= {parent} | {run.info.run_id for run in children(parent).values()}  # nothing was begun anew
    return parent


def test_a_comparison_that_was_killed_trains_only_the_rest(parent: str) -> None:
    runs = children(parent)

    assert {f"rnn-{OPTIONS}-s1", f"rnn-{OPTIONS}-s2", f"gru-{OPTIONS}-s1", f"gru-{OPTIONS}-s2"} == runs.keys()
    for run in [mlflow.get_run(parent), *runs.values()]:
        assert "FINISHED" == run.info.status
        assert f"comparison.{parent}" in run.data.tags
        for metric in run.data.metrics:
            steps = [entry.step for entry in MlflowClient().get_metric_history(run.info.run_id, metric)]
            assert len(set(steps)) == len(steps), metric
    assert {run.info.run_id for run in runs.values()} == members(parent)


def test_a_group_holds_mean_and_spread_of_its_trainings_by_epoch(parent: str) -> None:
    assert {f"rnn-{OPTIONS}", f"gru-{OPTIONS}"} == groups(parent).keys()
    group = groups(parent)[f"gru-{OPTIONS}"]
    first, second = (
        dict(costs(children(parent)[name].info.run_id)) for name in (f"gru-{OPTIONS}-s1", f"gru-{OPTIONS}-s2")
    )

    def series(metric: str) -> list[tuple[int, Any]]:
        history = MlflowClient().get_metric_history(group.info.run_id, metric)
        return [(entry.step, pytest.approx(entry.value)) for entry in history]

    assert series("cost") == [(epoch, statistics.mean((first[epoch], second[epoch]))) for epoch in first]
    assert series("cost_sd") == [(epoch, statistics.stdev((first[epoch], second[epoch]))) for epoch in first]
    assert series("cost_min") == [(epoch, min(first[epoch], second[epoch])) for epoch in first]
    assert series("cost_max") == [(epoch, max(first[epoch], second[epoch])) for epoch in first]
    assert 2 == group.data.metrics["seeds"]
    assert {"cell": "gru", "seeds": "1,2", "hidden_units": "12"}.items() <= group.data.params.items()
    assert ("FINISHED", "group") == (group.info.status, group.data.tags["kind"])
    for run in (group, mlflow.get_run(parent)):
        assert run.inputs
        assert 2 == len(run.inputs.dataset_inputs)


def test_side_by_side_the_numbers_are_those_of_a_run_of_its_own(
    command: Command, parent: str, data: tuple[str, str]
) -> None:
    alone = run_id_in(command("run", *SMALL, "--cell", "gru", "--seed", 2, "--new", *data).output)

    compared = children(parent)[f"gru-{OPTIONS}-s2"]
    assert costs(alone) == costs(compared.info.run_id)
    assert mlflow.get_run(alone).data.metrics["test_cost"] == compared.data.metrics["test_cost"]
    assert mlflow.get_run(alone).data.params == compared.data.params
    mlflow.delete_run(alone)  # it is a twin, which the next comparison would take over


def test_the_run_of_a_comparison_holds_its_parameters_and_its_report(parent: str) -> None:
    run = mlflow.get_run(parent)

    assert "compare-rnn-gru-digits" == run.info.run_name
    assert {
        "cells": "rnn,gru",
        "seeds": "1,2",
        "hidden_units": "12",
        "dataset": "digits",
    }.items() <= run.data.params.items()
    assert {"report.html", "runs.csv", "summary.csv", "pairwise_tests.csv"} <= artifacts(parent)
    best = max(groups(parent).values(), key=lambda group: group.data.metrics["best_val_accuracy"])
    assert best.data.params["cell"] == run.data.tags["best"]
    for metric in ("best_val_accuracy", "test_accuracy", "test_macro_f1", "test_balanced_accuracy", "test_cost"):
        assert best.data.metrics[metric] == pytest.approx(run.data.metrics[metric])


def test_a_report_leaves_the_page_of_the_comparison_as_it_was(command: Command, parent: str, tmp_path: Path) -> None:
    before = Path(mlflow.artifacts.download_artifacts(f"runs:/{parent}/comparison/report.html")).read_bytes()

    command("report", "--parent", parent, "--output", tmp_path / "report")

    assert (tmp_path / "report" / "report.html").stat().st_size > 0
    file = mlflow.artifacts.download_artifacts(f"runs:/{parent}/comparison/report.html", dst_path=str(tmp_path))
    assert before == Path(file).read_bytes()


def test_a_worker_that_is_killed_leaves_its_run_failed_with_the_reason(
    command: Command, parent: str, data: tuple[str, str], store: Path
) -> None:
    arguments = ("compare", "--cells", "gru", "--seeds", "70", *SMALL, "--epochs", "4000", *data)
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments], env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_checkpoints(process, store / "compared", 1)
        workers = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        for worker in workers:
            worker.kill()
        said = process.communicate()[1]

    assert 1 == process.returncode
    assert "gru-digits-units=12-lr=0.01-epochs=4000-s70: Its process ended by SIGKILL." in said
    query = "attributes.run_name = 'gru-digits-units=12-lr=0.01-epochs=4000-s70'"
    (run,) = mlflow.search_runs(filter_string=query, output_format="list")
    assert ("FAILED", "Its process ended by SIGKILL.") == (run.info.status, run.data.tags["error"])


def test_the_recommended_tagged_and_registered_configuration_are_one(
    command: Command, parent: str, data: tuple[str, str], tmp_path: Path
) -> None:
    output = command(*COMPARE, *data, "--register", "compared").output

    best = mlflow.get_run(parent).data.tags["best"]
    champion = mlflow.get_run(str(MlflowClient().get_model_version_by_alias("compared", "champion").run_id)).data
    reached = [
        run.data.metrics["best_val_accuracy"] for run in children(parent).values() if best == run.data.params["cell"]
    ]
    assert (best, max(reached)) == (champion.params["cell"], champion.metrics["best_val_accuracy"])
    assert f"Undecided: {best} leads. " in " ".join(output.split())  # two seeds are too few
    command("report", "--parent", parent, "--output", tmp_path)
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert [best] == summary.loc[summary["recommended"], "group"].to_list()


def test_what_was_trained_is_taken_over_and_what_fails_fails_alone(
    command: Command, parent: str, data: tuple[str, str]
) -> None:
    before = children(parent)

    output = command(
        *("compare", "--cells", "rnn", "--seeds", "1,2", *SMALL, *data, "--learning-rate", "0.01,1e38"), exit_code=1
    ).output

    assert "2 of 4 trainings failed. rnn-digits-units=12-lr=1e+38-epochs=40-s1: Training stopped" in output
    second = mlflow.search_runs(filter_string="attributes.run_name = 'compare-rnn-digits'", output_format="list")[0]
    assert "FAILED" == second.info.status
    assert {"rnn-digits-units=12-lr=1e+38-epochs=40-s1", "rnn-digits-units=12-lr=1e+38-epochs=40-s2"} == children(
        second.info.run_id
    ).keys()
    taken_over = before[f"rnn-{OPTIONS}-s1"].info.run_id
    assert taken_over in members(parent) & members(second.info.run_id)
    assert before.keys() == children(parent).keys()  # none was moved
    page = mlflow.artifacts.load_text(f"{second.info.artifact_uri}/comparison/report.html")
    assert "reused" in page
    assert "Training stopped in" in page


def test_ctrl_c_marks_the_comparison_and_its_trainings_as_killed(store: Path, parent: str) -> None:
    arguments = ["compare", "--cells", "rnn", "--seeds", "7", "--dataset", "digits", "--epochs", "100000"]
    # Not so many epochs a second that SQLite could not keep up: MLflow prints a traceback of a write that waits.
    arguments += ["--hidden-units", "512", "--steps", "32"]
    data = ("--data-dir", str(store / "interrupted"))
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments, *data],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for_checkpoints(process, store / "interrupted", 1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        error = process.stderr.read()

    assert 130 == process.returncode
    assert "Traceback" not in error
    newest = mlflow.search_runs(output_format="list", max_results=2)
    assert {"compare-rnn-digits": "KILLED", "rnn-digits-steps=32-units=512-epochs=100000-s7": "KILLED"} == {
        run.info.run_name: run.info.status for run in newest
    }


def test_what_is_worse_than_what_is_there_ends_with_code_3_and_is_not_registered(
    command: Command, parent: str, data: tuple[str, str]
) -> None:
    arguments = ("compare", "--cells", "rnn", *SMALL, *data)
    gru = children(parent)[f"gru-{OPTIONS}-s1"].info.run_id

    checked = ("--seeds", "1-3", "--epochs", "1", "--against", gru, "--register", "checked")
    output = " ".join(command(*arguments, *checked, exit_code=3).output.split())

    assert f"against: rnn against {gru}: worse, −" in output
    assert "It is not registered as checked." in output
    assert [] == list(MlflowClient().search_registered_models("name = 'checked'"))
    run = mlflow.search_runs(filter_string="attributes.run_name = 'compare-rnn-digits'", output_format="list")[0]
    assert ("FINISHED", "worse", gru) == (run.info.status, run.data.tags["standing"], run.data.tags["against"])
    # One and two seeds do not show how much seeds differ: there is no decision.
    output = " ".join(command(*arguments, "--seeds", "1", "--epochs", "1", "--against", parent).output.split())
    assert f"rnn against {parent}: undecided (−" in output


def test_what_it_is_checked_against_is_looked_up_before_anything_is_trained(
    command: Command, parent: str, data: tuple[str, str]
) -> None:
    arguments = ("compare", "--cells", "rnn", "--seeds", "44", *SMALL, *data)
    run, client = children(parent)[f"gru-{OPTIONS}-s1"], MlflowClient()

    nothing = command(*arguments, "--against", "models:/nothing@champion", exit_code=1).output
    client.set_tag(run.info.run_id, "dataset_digest", "0" * 64)
    other = command(*arguments, "--against", run.info.run_id, exit_code=2).output
    client.set_tag(run.info.run_id, "dataset_digest", run.data.tags["dataset_digest"])

    assert "must be the address of a model that a run has logged; got 'models:/nothing@champion'" in nothing
    assert "against must be trained on the same data" in " ".join(other.split())
    assert [] == mlflow.search_runs(filter_string="params.seed = '44'", output_format="list")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cells", ""), "cells: expected values separated by commas"),
        (("--cells", "rnn,elman"), "of a custom cell, such as my_cells:MGU, received 'elman'."),
        (("--seeds", "1,2.5"), "seed: must be a whole number"),
        (("--batch-size", "2000"), "batch_size: must be at most 1,293, the number of training examples"),
        (("--seeds", "1-501", "--cells", "rnn,gru"), "at most 1,000 runs"),
    ],
)
def test_wrong_usage_ends_with_2_and_opens_no_run(
    command: Command, parent: str, data: tuple[str, str], arguments: tuple[str, ...], said: str
) -> None:
    before = len(mlflow.search_runs(output_format="list"))

    result = command("compare", "--dataset", "digits", *data, *arguments, exit_code=2)

    assert said in " ".join(result.output.split())
    assert before == len(mlflow.search_runs(output_format="list"))
