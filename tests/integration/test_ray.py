"""Comparisons on a real Ray cluster of two nodes that share no folder; the tracking server is on PostgreSQL and S3."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run
from sklearn.datasets import load_digits

from pipeline import load
from tests import servers
from tests.integration.conftest import PROJECT, Command, begin, environment, history, models_of
from tests.ray_fixtures import Nodes, two_nodes

SMALL = ("--epochs", 20, "--dataset", "digits", "--hidden-units", 16, "--shards", 2)
COMPARE = ("compare", "--cells", "gru,my_cells:MGU", "--seeds", 1, *SMALL)

Costs = list[tuple[int, float, float]]
"""Step, cost and validation cost of each epoch."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def cluster(folder: Path, command: Command) -> Iterator[tuple[Nodes, dict[str, Costs]]]:
    """Start a server and a cluster, which the commands of this module use, and save a custom cell.

    The runs of the comparison are also trained one by one in this process; their costs are returned.
    """
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    cell = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (folder / "my_cells.py").write_text(cell, encoding="utf-8")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", stack.enter_context(servers.tracking_server(folder)))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
        nodes = stack.enter_context(two_nodes(folder / "a", folder / "b"))
        patch.setenv("RAY_ADDRESS", nodes.address)
        with contextlib.chdir(folder):
            for cell in ("gru", "my_cells:MGU"):
                command("run", "--cell", cell, *SMALL, "--data-dir", "data")
        yield nodes, {str(run.info.run_name): costs(run) for run in trainings()}


@pytest.fixture(autouse=True)
def experiment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Make each test use a new experiment."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)


@contextmanager
def driver(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a comparison on the cluster, from a folder outside the project."""
    with (folder / "output.txt").open("ab") as output:
        variables = environment() | {"PYTHONPATH": str(PROJECT)}
        options: dict[str, Any] = {"cwd": folder, "env": variables, "stdout": output, "stderr": output}
        with begin(*COMPARE, "--on", "ray", "--data-dir", "data", **options) as process:
            yield process


def runs(query: str = "") -> list[Run]:
    """Return the runs of the experiment, sorted by name."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    known = client.search_runs([experiment.experiment_id], query) if experiment else []
    return sorted(known, key=lambda run: str(run.info.run_name))


def trainings() -> list[Run]:
    return runs("tags.kind = 'training'")


def costs(run: Run) -> Costs:
    """Return step, cost and validation cost of each epoch, in the order of logging."""
    cost, val_cost = (history(run.info.run_id, name) for name in ("cost", "val_cost"))
    return [(*entry, value) for entry, (_, value) in zip(cost, val_cost, strict=True)]


def wait_for_epoch(number: int, process: "subprocess.Popen[str]", folder: Path) -> None:
    """Wait until both runs have logged an epoch."""
    while True:
        under_way = trainings()
        if len(under_way) == 2 and all(len(history(run.info.run_id)) >= number for run in under_way):
            return
        assert process.poll() is None, (folder / "output.txt").read_text()
        time.sleep(0.5)


def check(local: dict[str, Costs]) -> None:
    """Check that the results are the same as without a failure, and that nothing is left behind."""
    found = trainings()
    assert list(local) == [run.info.run_name for run in found]
    for run in found:
        assert local[str(run.info.run_name)] == costs(run)
        assert models_of(run)  # a worker that outlives its driver may log the same model again
        assert [] == mlflow.MlflowClient().list_artifacts(run.info.run_id, "checkpoint")
    assert {"FINISHED"} == {run.info.status for run in runs()}
    (comparison,) = runs("tags.kind = 'comparison'")
    assert "my_cells:MGU" in mlflow.artifacts.load_text(f"runs:/{comparison.info.run_id}/comparison/report.html")


def test_parts_are_answered_on_the_nodes_as_they_are_here(
    cluster: tuple[Nodes, dict[str, Costs]], folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
    monkeypatch.chdir(folder)
    run, _ = trainings()
    parts, images = folder / "parts", load_digits().images * 15
    parts.mkdir()
    for number in range(3):
        rows = images[100 * number : 100 * (number + 1)].reshape(100, -1).tolist()
        pq.write_table(pa.table({"pixels": rows, "id": range(100)}), parts / f"{number}.parquet")
    (parts / "bad.parquet").write_bytes(b"PAR1")
    model = f"runs:/{run.info.run_id}/model"

    said = command("predict", parts, "--model", model, "--output", "answers/", "--on", "ray", exit_code=1).output

    assert "Wrote 300 answers to 3 files" in said
    assert "1 of 4 files could not be answered" in said
    files = [folder / "answers" / f"{number}.parquet" for number in range(3)]
    assert files == sorted((folder / "answers").iterdir())
    expected = load(model).probabilities(images[:300])
    table = pa.concat_tables([pq.read_table(file) for file in files])
    assert expected.argmax(axis=1).tolist() == [int(label) for label in table["label"].to_pylist()]
    assert pytest.approx(expected.max(axis=1).tolist(), abs=1e-5) == table["probability"].to_pylist()


def test_trainings_on_two_nodes_survive_a_killed_command_and_a_lost_node_with_the_numbers_of_one_machine(
    cluster: tuple[Nodes, dict[str, Costs]], folder: Path
) -> None:
    nodes, local = cluster
    with driver(folder) as process:
        wait_for_epoch(3, process, folder)
        process.kill()
    with driver(folder) as process:
        wait_for_epoch(8, process, folder)
        nodes.kill()
        assert 0 == process.wait(), (folder / "output.txt").read_text()

    check(local)
    assert (folder / "a" / "processed").is_dir()
    assert (folder / "b" / "processed").is_dir()
