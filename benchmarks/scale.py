"""Measure where many runs on many nodes reach a limit: in the driver, the tracking server or the store.

    MLFLOW_TRACKING_URI=http://localhost:5000 python benchmarks/scale.py --nodes 2,4,8,16 --trainings 64
    MLFLOW_TRACKING_URI=http://localhost:5000 python benchmarks/scale.py --nodes "" --runs 1000

Each run only sleeps during its epochs. Everything else is as in `compare --on ray`: Ray's nodes (on loopback, one core
each), messages, checkpoints as large as a GRU's, metrics, tables, tags, groups and the report. Instead of a model, a
file of the same size is logged. The first row of the table does the same in local processes. `--runs` creates this
number of finished runs and measures `report` on them. Without an address, a temporary server with SQLite is started.
"""

import argparse
import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

os.environ["RAY_AUTH_MODE"] = "token"  # Ray reads these when it is imported
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_raylet_start_wait_time_s"] = "300"  # noqa: SIM112 - its own name
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

import mlflow
import numpy as np

from pipeline.comparison import grouping, report
from pipeline.data import prepare, stored
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord, Snapshot
from pipeline.evaluation import metrics
from pipeline.execution import comparison_run, ray_executor
from pipeline.execution.executors import Executor, FileRef, Send
from pipeline.execution.grid import grid
from pipeline.execution.job import DATA_DIR, Job, Opened, received
from pipeline.execution.ray_executor import RayExecutor
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import connection, lifecycle, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import identity, resuming

WEIGHTS = 65_000
"""Number of weights of a GRU of 128 units; a checkpoint has four copies: weights, Adam's two moments, best weights."""

MODEL = 1_500_000
"""Size of a logged model in bytes."""

GROUP = 10
"""Seeds of each configuration."""


# --- a run that sleeps instead of training --------------------------------------------------------------------------


def sleep(job: Job, send: Send, *, files: FileRef, epoch_seconds: float) -> str:
    """Do everything in `pipeline.execution.job.train`, in the same order, except training."""
    before = time.process_time()
    os.environ.pop("MLFLOW_RUN_ID", None)
    job = received(job, files) if job.remote else job
    data = stored.find_by_digest(job.settings.data_dir, job.dataset, job.digest)
    fingerprint = identity.fingerprint(job.settings, data)
    data_dir, remote = job.settings.data_dir, job.remote
    existing, _ = resuming.find_run(fingerprint, data_dir, remote=remote)
    with resuming.open_run(
        schema.TRAINING,
        job.name,
        fingerprint,
        data,
        identity.parameters(job.settings, data),
        data_dir=data_dir,
        resume=existing,
        remote=remote,
        tags=lifecycle.origin(gpus=[]) | {schema.CORES: "1"},
        parent=job.parent,
    ) as run:
        run_id = run.run_id
        send(Opened(run_id=run_id, state="trains"))
        history = list(_epochs(job, send, run=run, seconds=epoch_seconds))
        store.write_files(run_id, {"model/model.bin": os.urandom(MODEL)})
        _log_end(run_id, history, data)
        store.log_metrics(run_id, {"process_seconds": time.process_time() - before})
    return run_id


def _epochs(job: Job, send: Send, *, run: TrackedRun, seconds: float) -> Iterator[EpochRecord]:
    checkpoint = resuming.checkpoint_of(run, job.settings.data_dir)
    numbers = np.random.default_rng(job.settings.seed)
    history: list[EpochRecord] = []
    for epoch in range(1, job.settings.epochs + 1):
        time.sleep(seconds)
        accuracy = 1 - 0.1 / epoch - 0.01 * float(numbers.random())
        history.append(
            EpochRecord(
                epoch=epoch,
                cost=1 / epoch,
                accuracy=accuracy,
                val_cost=1 / epoch,
                val_accuracy=accuracy,
                learning_rate=1e-3,
                epoch_seconds=seconds,
                samples_per_second=1.0,
                epoch_cpu_seconds=seconds,
            )
        )
        weights = numbers.random(WEIGHTS, np.float32)
        snapshot = Snapshot(history=history, state=[weights] * 3, best_weights=[weights], seconds=seconds * epoch)
        checkpoint.save(snapshot)
        store.log_epoch(run.run_id, history[-1])
        send(history[-1])
        yield history[-1]


def _log_end(run_id: str, history: Sequence[EpochRecord], data: DataSet) -> None:
    """Log the results of training and evaluation, except the model."""
    last = history[-1]
    labels = np.asarray(data.test.labels)
    answers = np.eye(data.classes, dtype=np.float32)[labels]
    predictions = metrics.predictions(labels, answers, data.class_names)
    store.write_files(run_id, {schema.HISTORY: metrics.history(history), schema.PREDICTIONS: predictions})
    seconds = sum(record.epoch_seconds for record in history)
    store.log_metrics(
        run_id,
        {
            schema.PARAMETERS: WEIGHTS,
            schema.BEST_VAL_ACCURACY: last.val_accuracy,
            schema.BEST_EPOCH: last.epoch,
            schema.CPU_SECONDS: seconds,
            schema.TRAIN_SECONDS: seconds,
            schema.TEST_COST: last.val_cost,
            schema.TEST_ACCURACY: last.val_accuracy,
        },
    )


# --- executors whose runs sleep -------------------------------------------------------------------------------------


class SleepingOnRay(RayExecutor):
    """An executor on a cluster whose runs sleep."""

    epoch_seconds = 1.0

    def run(self, work: Any, *jobs: Any, **options: Any) -> None:
        """Do jobs that sleep instead of training."""
        super().run(partial(sleep, epoch_seconds=self.epoch_seconds, **work.keywords), *jobs, **options)


class SleepingHere(Executor):
    """An executor on this machine whose runs sleep."""

    def __init__(self, epoch_seconds: float) -> None:
        super().__init__()
        self._epoch_seconds = epoch_seconds

    def run(self, work: Any, *jobs: Any, **options: Any) -> None:
        """Do jobs that sleep instead of training."""
        super().run(partial(sleep, epoch_seconds=self._epoch_seconds, **work.keywords), *jobs, **options)


# --- measurements ---------------------------------------------------------------------------------------------------


class Stopwatch(Reporter):
    """A reporter that records when the runs began and ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def trainings(self, trainings: Sequence[object], left: float | None) -> None:
        """Record the time."""
        self.ended = time.perf_counter()
        self.began = self.began or self.ended


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="2,4,8,16", help="numbers of nodes, separated by commas")
    parser.add_argument("--trainings", default=64, type=int, help="number of runs for each number of nodes")
    parser.add_argument("--epochs", default=10, type=int)
    parser.add_argument("--epoch-seconds", default=1.0, type=float)
    parser.add_argument("--runs", default=0, type=int, help="number of finished runs in the report")
    options = parser.parse_args()
    SleepingOnRay.epoch_seconds = options.epoch_seconds
    ray_executor.RayExecutor = SleepingOnRay  # type: ignore[misc]
    numbers = [int(number) for number in options.nodes.split(",") if number]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = stack.enter_context(_server(folder))
        data, _ = prepare.prepared(Settings(dataset="digits", data_dir=folder), Reporter())
        if numbers:
            _print_head(options)
            _begin_experiment("processes")
            _measure(
                "processes", numbers[0], SleepingHere(options.epoch_seconds), data=data, options=options, server=server
            )
        for number in numbers:
            _begin_experiment(f"{number}-nodes")  # before the nodes start, because they inherit it
            with _nodes(number, folder) as executor:
                _measure("nodes", number, executor, data=data, options=options, server=server)
        if options.runs:
            _measure_report(options.runs, data, options.epochs)


def _begin_experiment(name: str) -> None:
    os.environ["MLFLOW_EXPERIMENT_NAME"] = f"{name}-{secrets.token_hex(4)}"


def _print_head(options: argparse.Namespace) -> None:
    ideal = options.epochs * options.epoch_seconds
    print(f"{options.trainings} runs in each row, of {options.epochs} epochs, which sleep for {ideal:.0f} s")
    print(
        f"{'':14}    wall s   asleep       other s per run             CPU s per run: run   driver   server   report s"
    )


def _measure(
    kind: str,
    number: int,
    executor: Executor,
    *,
    data: DataSet,
    options: argparse.Namespace,
    server: psutil.Process | None,
) -> None:
    """Train, report and print a row."""
    rates = ",".join(f"{1e-5 * (1 + each):g}" for each in range(max(1, options.trainings // GROUP)))
    seeds = ",".join(str(1 + each) for each in range(min(GROUP, options.trainings)))
    lists = {"cells": "gru", "seeds": seeds, "learning_rate": rates, "epochs": options.epochs, "dataset": "digits"}
    trainings = [replace(each, data_dir=data.folder.parents[1]) for each in grid(lists)]
    watch, driver, served = Stopwatch(), time.process_time(), _cpu(server)
    with comparison_run.opened(trainings, data, remote=executor.remote) as parent:
        comparison_run.train(trainings, data, watch, parent=parent, count=number, executor=executor)
        done = time.perf_counter()
    found = store.find_runs("tags.kind = 'training'")
    own = [run.metrics["process_seconds"] for run in found]
    count, wall = len(trainings), watch.ended - watch.began
    asleep = options.epochs * options.epoch_seconds * count / number
    print(
        f"{number:4} {kind:9} {wall:9.1f} {asleep:8.1f} {(wall - asleep) * number / count:21.2f}"
        f" {sum(own) / count:29.2f} {(time.process_time() - driver) / count:8.2f}"
        f" {(_cpu(server) - served) / count:8.2f} {done - watch.ended:10.1f}",
        flush=True,
    )


def _cpu(server: psutil.Process | None) -> float:
    """Return the CPU time of the server and its processes so far; 0 for a server on another machine."""
    if server is None:
        return 0.0
    total = 0.0
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    return total


def _measure_report(number: int, data: DataSet, epochs: int) -> None:
    """Create finished runs, and report on them."""
    _begin_experiment("report")
    with lifecycle.open_run("comparison", schema.of_kind(schema.COMPARED)) as run:
        parent = run
    for index in range(number):
        settings = Settings(
            cell="gru", dataset="digits", seed=1 + index % GROUP, learning_rate=1e-4 * (1 + index // GROUP)
        )
        _make_run(replace(settings, epochs=epochs), parent, data)
    began, memory = time.perf_counter(), psutil.Process().memory_info().rss
    chosen = grouping.select_children(parent)
    read = time.perf_counter()
    report.publish(*chosen, Reporter(), data_dir=data.folder.parents[1], parent=parent)
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    print(f"report on {number} runs: {ended - began:.1f} s, including {read - began:.1f} s to select them;", end=" ")
    print(f"memory: {memory / 2**20:.0f} MB before, {peak:.0f} MB at most")


def _make_run(settings: Settings, parent: TrackedRun, data: DataSet) -> None:
    """Create a finished run without training."""
    tags = schema.of_kind(schema.TRAINING) | {
        schema.DATASET: data.name,
        schema.DATASET_DIGEST: data.digest,
        schema.CORES: "1",
        f"{schema.MEMBER_OF}{parent.run_id}": "true",
    }
    made = lifecycle.create_child(parent, f"gru-s{settings.seed}", tags)
    store.log_parameters(made, identity.parameters(settings, data))
    numbers = np.random.default_rng(settings.seed)
    history = [_record(epoch, float(numbers.random())) for epoch in range(1, settings.epochs + 1)]
    _log_end(made.run_id, history, data)
    lifecycle.end(made.run_id)


def _record(epoch: int, chance: float) -> EpochRecord:
    accuracy = 1 - 0.1 / epoch - 0.01 * chance
    return EpochRecord(
        epoch=epoch,
        cost=1 / epoch,
        accuracy=accuracy,
        val_cost=1 / epoch,
        val_accuracy=accuracy,
        learning_rate=1e-3,
        epoch_seconds=1.0,
        samples_per_second=1.0,
        epoch_cpu_seconds=1.0,
    )


# --- server and cluster ---------------------------------------------------------------------------------------------


@contextmanager
def _server(folder: Path) -> Iterator[psutil.Process | None]:
    """Use the server of the environment or start one; yield its process if it is on this machine."""
    with ExitStack() as stack:
        if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = str(probe.getsockname()[1])
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1"]
            command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
            command += ["--artifacts-destination", str(folder / "artifacts")]
            log = stack.enter_context((folder / "server.log").open("wb"))
            process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
            stack.callback(process.terminate)
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        _wait_for(os.environ["MLFLOW_TRACKING_URI"] + "/health")
        connection.connect()
        yield _listening(int(os.environ["MLFLOW_TRACKING_URI"].rpartition(":")[2]))


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - the server's
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    sys.exit(f"no answer from {address}")


def _listening(port: int) -> psutil.Process | None:
    """Return the process of this machine that listens on a port; of several, their parent."""
    owners = {each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == port}
    found = [psutil.Process(pid) for pid in owners if pid]
    return next((each for each in found if each.parent() not in found), None)


@contextmanager
def _nodes(number: int, folder: Path) -> Iterator[Executor]:
    """Start a cluster on loopback, with nodes of one core each, and connect to it."""
    from ray.cluster_utils import Cluster

    small: Any = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.2"}
    code = str(Path(__file__).parents[1])

    def own(index: int) -> Any:
        return {"env_vars": {DATA_DIR: str(folder / f"node-{index}"), "PYTHONPATH": code}}

    made: Any = Cluster(initialize_head=True, head_node_args={**small, **own(0), "include_dashboard": False})
    try:
        for index in range(1, number):
            made.add_node(**small, **own(index))
        os.environ[ray_executor.ADDRESS] = made.address
        with ray_executor.connected("ray", tracks=True) as executor:
            yield executor
    finally:
        made.shutdown()


if __name__ == "__main__":
    main()
