"""Real servers on this machine: PostgreSQL (Debian's package), S3 (SeaweedFS, from PyPI), and MLflow's server."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

PATH = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
"""Folder of PostgreSQL's programs; Debian has one for each version, which is not in PATH."""

BUCKET, KEY, SECRET = "mlflow", "key-of-the-tests", "secret-of-the-tests"


def free_ports(count: int) -> list[int]:
    """Return different free ports."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    return free_ports(1)[0]


def wait_until_up(address: str, process: subprocess.Popen[Any]) -> None:
    """Wait until a server answers; fail if it ends before."""
    while True:
        assert process.poll() is None, f"the server for {address} ended with exit code {process.returncode}"
        with contextlib.suppress(requests.RequestException):  # the connection is refused, or the answer too slow
            if requests.get(address, timeout=1).ok:
                return
        time.sleep(0.05)


@contextmanager
def s3(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start an S3 store in a folder, with an empty bucket and one user; yield the variables for its clients."""
    ports, users, program = free_ports(8), folder / "users.json", Path(sys.executable).with_name("weed")
    user = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    users.write_text(json.dumps({"identities": [user | {"actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
    (folder / "files").mkdir()
    names = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
    options = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    options += ["-s3", f"-s3.config={users}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += [f"-{part}.localSocket={folder / part}.sock" for part in ("s3", "filer")]
    options += ["-volume.max=20", "-master.volumeSizeLimitMB=64", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command = [str(program), "server", f"-dir={folder / 'files'}", *options]
    endpoint = f"http://127.0.0.1:{ports[0]}"
    with running(command, folder / "s3.log", {"TMPDIR": str(folder)}, signal.SIGKILL):  # a clean end takes 10 s
        _make_bucket(endpoint)
        yield {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
        }


def _make_bucket(endpoint: str) -> None:
    """Create the bucket as soon as the store accepts it, because its parts start one after the other."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )
    while True:
        with contextlib.suppress(BotoCoreError, ClientError):
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="probe", Body=b"")
            client.delete_object(Bucket=BUCKET, Key="probe")
            return
        time.sleep(0.1)


@contextmanager
def postgres() -> Iterator[str | None]:
    """Yield the address of a new database, or None if PostgreSQL is not installed."""
    if not shutil.which("initdb", path=PATH):
        yield None
        return
    port, user = free_port(), "nobody" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
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
    command: list[str], log: Path, environment: Mapping[str, str], end: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its processes until the block ends, in the folder of its log."""
    variables = os.environ | dict(environment)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, stdout=output, stderr=output, env=variables, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, end)
        process.wait()


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """Run a tracking server on S3 and PostgreSQL, or a file if PostgreSQL is not installed."""
    with ExitStack() as stack:
        store, database, port = stack.enter_context(s3(folder)), stack.enter_context(postgres()), free_port()
        address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", database or f"sqlite:///{folder}/server.db"]
        command += ["--artifacts-destination", f"s3://{BUCKET}"]
        variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **store}
        process = stack.enter_context(running(command, folder / "server.log", variables))
        wait_until_up(f"{address}/health", process)
        yield address
