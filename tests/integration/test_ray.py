"""Comparisons on a real Ray cluster of two nodes that share no folder; the tracking server is on PostgreSQL and S3."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
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
from tests.integration.conftest import PROJECT, Command, begin, history, models_of, save_cell
from tests.ray_fixtures import Nodes

SMALL = ("--epochs", 30, "--dataset", "digits", "--hidden-units", 16, "--shards", 2, "--data-dir", "data")
CELLS = ("gru", "my_cells:MGU")
COMPARE = ("compare", "--cells", ",".join(CELLS), "--seeds", 1, *SMALL, "--on", "ray")

Costs = list[tuple[tuple[int, float], tuple[int, float]]]
"""Step and cost, step and validation cost of each epoch, in the order of logging."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def local(folder: Path, nodes: Nodes, command: Command) -> Iterator[dict[str, Costs]]:
    """Start a server, save a custom cell, and train the runs of the comparison in this process; return their costs."""
    save_cell(folder)
    with servers.tracking_server(folder) as server, pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("MLFLOW_TRACKING_URI", server)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
        patch.setenv("RAY_ADDRESS", nodes.address)
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "60")  # seconds; other tests look at these metrics
        for cell in CELLS:
            command("run", "--cell", cell, *SMALL)
        yield {name: costs(run) for name, run in trainings().items()}


@contextmanager
def driver(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a comparison on the cluster, from a folder outside the project."""
    with (folder / "errors.txt").open("ab") as errors:
        variables = os.environ | {"PYTHONPATH": str(PROJECT)}
        options: dict[str, Any] = {"cwd": folder, "env": variables, "stdout": subprocess.PIPE, "stderr": errors}
        with begin(*COMPARE, **options) as process:
            yield process


def runs(query: str = "") -> list[Run]:
    """Return the runs of the experiment."""
    names = [os.environ["MLFLOW_EXPERIMENT_NAME"]]
    return mlflow.search_runs(experiment_names=names, filter_string=query, output_format="list")


def trainings() -> dict[str, Run]:
    return {str(run.info.run_name): run for run in runs("tags.kind = 'training'")}


def costs(run: Run) -> Costs:
    return list(zip(history(run.info.run_id), history(run.info.run_id, "val_cost"), strict=True))


def test_trainings_on_two_nodes_survive_a_lost_node_and_a_killed_command_with_the_numbers_of_one_machine(
    local: dict[str, Costs], nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cluster")

    def read_two_lines(pattern: str) -> None:
        assert process.stdout is not None
        matching = (line for line in process.stdout if re.search(pattern, line))
        assert 2 == len(list(islice(matching, 2))), (folder / "errors.txt").read_text()

    with driver(folder) as process:
        read_two_lines(r" trains, on .* 1/30 ")
        nodes.kill()
        read_two_lines(r" resumes, on .* \d+/30 ")  # on the other node
        process.kill()
    with driver(folder) as process:
        read_two_lines(r" resumes, on .* \d+/30 ")
        process.communicate()
    assert 0 == process.returncode, (folder / "errors.txt").read_text()

    found = trainings()
    assert local == {name: costs(run) for name, run in found.items()}
    for run in found.values():
        assert models_of(run)  # a worker that outlives its driver may log the same model again
        assert [] == mlflow.MlflowClient().list_artifacts(run.info.run_id, "checkpoint")
    assert {"FINISHED"} == {run.info.status for run in runs()}
    (comparison,) = runs("tags.kind = 'comparison'")
    assert "my_cells:MGU" in mlflow.artifacts.load_text(f"runs:/{comparison.info.run_id}/comparison/report.html")
    assert 2 == len(list(nodes.folder.glob("*/processed")))


def test_parts_are_answered_on_a_node_as_they_are_here(local: dict[str, Costs], folder: Path, command: Command) -> None:
    model, parts, images = (
        f"runs:/{next(iter(trainings().values())).info.run_id}/model",
        folder / "parts",
        load_digits(),
    )
    parts.mkdir()
    for number in range(2):
        rows = images.data[100 * number : 100 * (number + 1)] * 15
        pq.write_table(pa.table({"pixels": rows.tolist(), "id": range(100)}), parts / f"{number}.parquet")
    (parts / "bad.parquet").write_bytes(b"PAR1")

    said = command("predict", parts, "--model", model, "--output", "answers/", "--on", "ray", exit_code=1).output

    assert "Wrote 200 answers to 2 files" in said
    assert "1 of 3 files could not be answered" in said
    table = pa.concat_tables([pq.read_table(folder / "answers" / f"{number}.parquet") for number in range(2)])
    expected = load(model).probabilities(images.images[:200] * 15)
    assert expected.argmax(axis=1).tolist() == [int(label) for label in table["label"].to_pylist()]
    assert pytest.approx(expected.max(axis=1).tolist(), abs=1e-5) == table["probability"].to_pylist()
