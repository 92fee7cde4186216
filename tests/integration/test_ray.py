"""Comparisons on a real Ray cluster of two nodes that share no folder; the tracking server is on PostgreSQL and S3."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from tests import servers
from tests.integration.conftest import PROJECT
from tests.ray_fixtures import two_nodes

COMPARE = (
    "compare",
    "--cells",
    "gru,my_cells:MGU",
    "--seeds",
    1,
    "--epochs",
    20,
    "--dataset",
    "digits",
    "--hidden-units",
    16,
    "--shards",
    2,
)
Costs = list[tuple[int, float, float]]
"""Step, cost and validation cost of each epoch."""

LEASE = 8
"""Seconds after which a driver that gives no sign of life is given up here; a minute elsewhere."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Any]:
    """Start cluster and server, and make both those that the commands of this module use; save a cell of one's own."""
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    cell = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (folder / "my_cells.py").write_text(cell, encoding="utf-8")
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        server = pool.submit(stack.enter_context, servers.tracking_server(folder))
        made = stack.enter_context(two_nodes(folder / "a", folder / "b"))
        patch.setenv("MLFLOW_TRACKING_URI", server.result().address)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("RAY_ADDRESS", made.address)
        patch.setenv("PIPELINE_LEASE_SECONDS", str(LEASE))
        yield made


def begin(*arguments: object) -> subprocess.Popen[bytes]:
    """Begin a command of the command line, from a folder that is not the project's."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments), "--data-dir", "data"]
    place = Path(os.environ["PIPELINE_TEST_FOLDER"])
    with (place / "output.txt").open("ab") as output:
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        return subprocess.Popen(command, cwd=place, env=environment, stdout=output, stderr=output)


@pytest.fixture(autouse=True)
def place(folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Give each test an experiment of its own, and the driver's folder."""
    monkeypatch.setenv("PIPELINE_TEST_FOLDER", str(folder))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    return folder


def ended(process: subprocess.Popen[bytes], place: Path) -> None:
    """Wait until a command has ended well."""
    assert 0 == process.wait(250), (place / "output.txt").read_text()


def trainings(experiment: str | None = None) -> list[Run]:
    """Return the trainings of an experiment, in the order of their names."""
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    found = client.get_experiment_by_name(experiment or os.environ["MLFLOW_EXPERIMENT_NAME"])
    if found is None:
        return []
    query = "tags.kind = 'training'"
    return sorted(client.search_runs([found.experiment_id], query), key=lambda run: str(run.info.run_name))


def costs(run: Run) -> Costs:
    """Return step, cost and validation cost of each epoch, in the order in which they were logged."""
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    history = [client.get_metric_history(run.info.run_id, name) for name in ("cost", "val_cost")]
    return [(cost.step, cost.value, val.value) for cost, val in zip(*history, strict=True)]


def statuses() -> set[str]:
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    found = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    assert found
    return {run.info.status for run in client.search_runs([found.experiment_id])}


def models(run: Run) -> int:
    return len(run.outputs.model_outputs) if run.outputs else 0


def wait_for_epoch(number: int, *, of_all: bool = False) -> None:
    """Wait until a training, or all two, have logged an epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        reached = [run.data.metrics.get("cost") is not None and len(costs(run)) >= number for run in trainings()]
        if (len(reached) == 2 and all(reached)) if of_all else any(reached):
            return
        time.sleep(0.2)
    pytest.fail(f"no epoch {number}")


@pytest.fixture(scope="module")
def local(cluster: Any, folder: Path) -> dict[str, Costs]:
    """Return the costs of the trainings of the comparison, trained on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_TEST_FOLDER", str(folder))
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
        ended(begin(*COMPARE), folder)
        return {str(run.info.run_name): costs(run) for run in trainings()}


def check(local: dict[str, Costs]) -> None:
    """Check that all is as if nothing had happened, and nothing is left behind."""
    found = trainings()
    assert list(local) == [run.info.run_name for run in found]
    for run in found:
        assert local[str(run.info.run_name)] == costs(run)
        assert 1 == models(run)
        client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        assert [] == client.list_artifacts(run.info.run_id, "checkpoint")
    assert {"FINISHED"} == statuses()


def test_trainings_on_two_nodes_have_the_numbers_of_one_machine(
    cluster: Any, local: dict[str, Costs], folder: Path
) -> None:
    ended(begin(*COMPARE, "--on", "ray"), folder)

    check(local)
    assert (folder / "a" / "processed").is_dir()
    assert (folder / "b" / "processed").is_dir()


def test_a_driver_that_is_killed_is_taken_up_by_the_same_command(
    cluster: Any, local: dict[str, Costs], folder: Path
) -> None:
    driver = begin(*COMPARE, "--on", "ray")
    wait_for_epoch(3)
    driver.kill()
    driver.wait()
    ended(begin(*COMPARE, "--on", "ray"), folder)

    check(local)


def test_a_search_has_the_trials_that_it_has_on_one_machine(
    cluster: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--dataset", "digits", "--epochs", 9, "--hidden-units", 8, "--shards", 2, "--workers", 1)
    search = ("search", "--trials", 3, "--confirm", 0, "--range", "learning_rate=1e-3..3e-2:log", *small)
    ended(begin(*search, "--on", "ray"), folder)
    on_the_cluster = {run.info.run_name: costs(run) for run in trainings()}
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "searched")
    ended(begin(*search), folder)

    assert {"gru-t1", "gru-t2", "gru-t3"} == on_the_cluster.keys()
    assert {run.info.run_name: costs(run) for run in trainings()} == on_the_cluster


def test_trainings_of_a_node_that_is_killed_go_on_elsewhere(
    cluster: Any, local: dict[str, Costs], folder: Path
) -> None:
    driver = begin(*COMPARE, "--on", "ray")
    wait_for_epoch(3, of_all=True)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    ended(driver, folder)

    check(local)
    assert "its node was lost" in (folder / "output.txt").read_text()
