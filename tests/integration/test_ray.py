"""Comparisons on a real Ray cluster of two nodes that share no folder; the tracking server is on PostgreSQL and S3."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run
from sklearn.datasets import load_digits

from pipeline.epochs import EpochRecord
from tests import servers
from tests.integration.conftest import PROJECT, Command
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

    The runs of the comparison are trained one by one in this process, too; their costs are returned.
    """
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    cell = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (folder / "my_cells.py").write_text(cell, encoding="utf-8")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", stack.enter_context(servers.tracking_server(folder)))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
        patch.setenv("PIPELINE_TEST_FOLDER", str(folder))
        nodes = stack.enter_context(two_nodes(folder / "a", folder / "b"))
        patch.setenv("RAY_ADDRESS", nodes.address)
        with contextlib.chdir(folder):
            for cell in ("gru", "my_cells:MGU"):
                command("run", "--cell", cell, *SMALL, "--data-dir", "data")
        yield nodes, {str(run.info.run_name): costs(run) for run in trainings()}


def begin(*arguments: object, data_dir: bool = True) -> subprocess.Popen[bytes]:
    """Begin a command of the command line, from a folder that is not the project's."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments), *(["--data-dir", "data"] if data_dir else [])]
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
    assert 0 == process.wait(), (place / "output.txt").read_text()


def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


def runs(query: str = "") -> list[Run]:
    """Return runs of the test's experiment, in the order of their names."""
    found = client().get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    known = client().search_runs([found.experiment_id], query) if found else []
    return sorted(known, key=lambda run: str(run.info.run_name))


def trainings() -> list[Run]:
    return runs("tags.kind = 'training'")


def costs(run: Run) -> Costs:
    """Return step, cost and validation cost of each epoch, in the order in which they were logged."""
    history = [client().get_metric_history(run.info.run_id, name) for name in ("cost", "val_cost")]
    return [(cost.step, cost.value, val.value) for cost, val in zip(*history, strict=True)]


def steps(run: Run) -> dict[str, list[int]]:
    """Return the steps at which each metric of an epoch was logged."""
    names = EpochRecord.__dataclass_fields__.keys() - {"epoch"}
    return {name: [entry.step for entry in client().get_metric_history(run.info.run_id, name)] for name in names}


def models(run: Run) -> int:
    """Return the number of models of a run; those of attempts that were lost are deleted."""
    query = f"source_run_id = '{run.info.run_id}'"
    return len(client().search_logged_models([run.info.experiment_id], filter_string=query))


def wait_for_epoch(number: int, driver: subprocess.Popen[bytes]) -> None:
    """Wait until both trainings have logged an epoch."""
    while True:
        under_way = trainings()
        if len(under_way) == 2 and all(len(steps(run)["cost"]) >= number for run in under_way):
            return
        assert driver.poll() is None, (Path(os.environ["PIPELINE_TEST_FOLDER"]) / "output.txt").read_text()
        time.sleep(0.2)


def check(local: dict[str, Costs]) -> None:
    """Check that all is as if nothing had happened, and nothing is left behind."""
    found = trainings()
    assert list(local) == [run.info.run_name for run in found]
    for run in found:
        assert local[str(run.info.run_name)] == costs(run)
        assert {name: list(range(1, 21)) for name in steps(run)} == steps(run)
        assert models(run)  # an attempt that outlives its driver may log the same model once more
        assert [] == client().list_artifacts(run.info.run_id, "checkpoint")
    assert {"FINISHED"} == {run.info.status for run in runs()}


def test_trainings_on_two_nodes_survive_a_killed_command_and_a_lost_node_with_the_numbers_of_one_machine(
    cluster: tuple[Nodes, dict[str, Costs]], folder: Path
) -> None:
    nodes, local = cluster
    driver = begin(*COMPARE, "--on", "ray")
    wait_for_epoch(3, driver)
    driver.kill()
    driver.wait()
    driver = begin(*COMPARE, "--on", "ray")
    wait_for_epoch(8, driver)
    nodes.kill()
    ended(driver, folder)

    check(local)
    assert (folder / "a" / "processed").is_dir()
    assert (folder / "b" / "processed").is_dir()


def test_parts_are_answered_on_the_nodes_as_they_are_here(
    cluster: tuple[Nodes, dict[str, Costs]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
    run, _ = trainings()
    parts, images = folder / "parts", load_digits().images * 15
    parts.mkdir()
    for number in range(3):
        rows = images[100 * number : 100 * (number + 1)].reshape(100, -1).tolist()
        pq.write_table(pa.table({"pixels": rows, "id": range(100)}), parts / f"{number}.parquet")
    (parts / "bad.parquet").write_bytes(b"PAR1")
    command = ("predict", parts, "--model", f"runs:/{run.info.run_id}/model", "--output", "answers/", "--on", "ray")

    assert 1 == begin(*command, data_dir=False).wait()

    told = (folder / "output.txt").read_text()
    assert "Wrote 300 answers to 3 files" in told
    assert "1 of 4 files not answered" in told
    files = [folder / "answers" / f"{number}.parquet" for number in range(3)]
    assert files == sorted((folder / "answers").iterdir())
    assert run.outputs
    model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    expected = model.predict(images[:300].astype("float32"))
    table = pa.concat_tables([pq.read_table(file) for file in files])
    assert expected.argmax(axis=1).tolist() == [int(label) for label in table["label"].to_pylist()]
    assert pytest.approx(expected.max(axis=1).tolist(), abs=1e-5) == table["probability"].to_pylist()


@pytest.mark.slow
def test_sequences_are_answered_on_the_nodes_by_id(cluster: tuple[Nodes, dict[str, Costs]], place: Path) -> None:
    steps = [(f"g{example}", example % 2, step * (-1) ** example) for example in range(12) for step in range(3)]
    pd.DataFrame(steps, columns=["id", "label", "x"]).to_csv(place / "steps.csv", index=False)
    ended(begin("run", "--source", "steps.csv", "--epochs", 1, "--hidden-units", 4, "--register", "steps"), place)

    ended(
        begin(
            "predict",
            "steps.csv",
            "--model",
            "models:/steps@champion",
            "--output",
            "out/",
            "--on",
            "ray",
            data_dir=False,
        ),
        place,
    )

    table = pq.read_table(place / "out" / "steps.csv.parquet")
    assert [f"g{example}" for example in range(12)] == table["id"].to_pylist()
