"""Comparisons on a real Ray cluster of two nodes that share no folder, with a real tracking server on PostgreSQL."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
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

from tests.integration.conftest import PROJECT, free_port, wait_until_up
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
PATH = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
"""Debian keeps PostgreSQL's programs in a folder of their version, which no shell looks into."""

Costs = list[tuple[int, float, float]]
"""Step, cost and validation cost of each epoch."""

LEASE = 8
"""Seconds after which a driver that gives no sign of life is given up here; a minute elsewhere."""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Yield the address of a new database; of a SQLite file where PostgreSQL is not installed."""
    if not shutil.which("initdb", path=PATH) or not shutil.which("pg_ctl", path=PATH):
        yield f"sqlite:///{folder}/server.db"
        return
    port, user = free_port(), "nobody" if os.geteuid() == 0 else None  # PostgreSQL does not serve root
    with tempfile.TemporaryDirectory() as place:
        if user:
            shutil.chown(place, user)
        files = ["-D", f"{place}/files"]
        options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
        _run("initdb", *files, "-U", "mlflow", "-A", "trust", user=user)
        _run("pg_ctl", *files, "-o", options, "-l", f"{place}/log", "-w", "start", user=user)
        try:
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            _run("pg_ctl", *files, "-m", "immediate", "stop", user=user)


def _run(*command: str, user: str | None) -> None:
    environment = os.environ | {"PATH": PATH}
    subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, env=environment)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Yield the address of a tracking server with a database and an artifact store of its own."""
    address = f"http://127.0.0.1:{free_port()}"
    with postgres(folder) as database:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1"]
        command += ["--artifacts-destination", str(folder / "artifacts"), "--port", address.rpartition(":")[2]]
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_up(f"{address}/health", process, 90)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Any]:
    """Start cluster and server, and make both those that the commands of this module use; save a cell of one's own."""
    page = (PROJECT / "docs" / "cells.md").read_text(encoding="utf-8")
    cell = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (folder / "my_cells.py").write_text(cell, encoding="utf-8")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        made = stack.enter_context(two_nodes(folder / "a", folder / "b"))
        address = stack.enter_context(server(folder))
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("RAY_ADDRESS", made.address)
        patch.setenv("PIPELINE_LEASE_SECONDS", str(LEASE))
        yield made


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


def test_parts_are_answered_on_the_nodes_as_they_are_here(cluster: Any, local: dict[str, Costs], folder: Path) -> None:
    (run, _) = trainings("local")
    parts, images = folder / "parts", load_digits().images * 15
    parts.mkdir()
    for number in range(3):
        rows = images[100 * number : 100 * (number + 1)].reshape(100, -1).tolist()
        pq.write_table(pa.table({"pixels": rows, "id": range(100)}), parts / f"{number}.parquet")
    (parts / "bad.parquet").write_bytes(b"PAR1")
    command = ("predict", parts, "--model", f"runs:/{run.info.run_id}/model", "--output", "answers/", "--on", "ray")

    assert 1 == begin(*command, data_dir=False).wait(250)
    (parts / "bad.parquet").unlink()
    (folder / "answers" / "1.parquet").unlink()
    ended(begin(*command, data_dir=False), folder)

    assert "Wrote 100 answers to 1 files" in (folder / "output.txt").read_text()
    files = [folder / "answers" / f"{number}.parquet" for number in range(3)]
    assert files == sorted((folder / "answers").iterdir())
    assert run.outputs
    model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    expected = model.predict(images[:300].astype("float32"))
    table = pa.concat_tables([pq.read_table(file) for file in files])
    assert expected.argmax(axis=1).tolist() == [int(label) for label in table["label"].to_pylist()]
    assert expected.max(axis=1).tolist() == table["probability"].to_pylist()


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
