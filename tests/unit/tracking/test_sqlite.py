"""The first start of a SQLite store: at once, half made, damaged, or with something in it."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import TrackingError
from pipeline.tracking import connection, sqlite

CONNECT = "from pipeline.tracking import connection; connection.connect()"


def connecting(path: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{path}"}
    return subprocess.Popen([sys.executable, "-c", CONNECT], env=environment, stderr=subprocess.PIPE, text=True)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as store:
        return {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a store that is not there yet."""
    path = tmp_path / "new" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    return path


def test_several_first_starts_at_once_make_one_store(path: Path) -> None:
    starts = [connecting(path) for _ in range(3)]
    said = [process.communicate()[1] for process in starts]

    assert [0, 0, 0] == [process.returncode for process in starts], said
    assert {"runs", "experiments", "metrics"} <= tables(path)
    assert {"mlflow.db", "mlflow.db.lock"} >= {file.name for file in path.parent.iterdir()}


def test_what_a_killed_start_left_half_made_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        store.execute("CREATE TABLE _alembic_tmp_runs (run_uuid TEXT)")
    Path(f"{path}.incoming").write_bytes(b"half")

    connection.connect()

    assert "_alembic_tmp_runs" not in tables(path)
    assert "runs" in tables(path)


def test_a_store_that_is_whole_is_left_as_it_is(path: Path) -> None:
    sqlite.prepare(f"sqlite:///{path}")
    before = path.stat().st_ino
    sqlite.prepare(f"sqlite:///{path}")
    assert before == path.stat().st_ino


def test_a_store_with_something_in_it_is_never_made_anew(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        store.execute("CREATE TABLE runs (run_uuid TEXT)")
        store.execute("INSERT INTO runs VALUES ('somebody''s')")
        store.commit()

    with pytest.raises(TrackingError, match="No answer from the tracking server"):
        connection.connect()

    with closing(sqlite3.connect(path)) as store:
        assert [("somebody's",)] == store.execute("SELECT run_uuid FROM runs").fetchall()


def test_a_store_of_experiments_alone_is_never_made_anew(path: Path) -> None:
    """Somebody has made one, with a place for its artifacts, by another version of MLflow."""
    sqlite.prepare(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as store:
        store.execute("INSERT INTO experiments (experiment_id, name) VALUES (7, 'digits')")
        store.execute("UPDATE alembic_version SET version_num = 'former'")
        store.commit()

    sqlite.prepare(f"sqlite:///{path}")

    with closing(sqlite3.connect(path)) as store:
        assert ("digits",) in store.execute("SELECT name FROM experiments").fetchall()


def test_a_database_of_something_else_is_refused_and_left(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE recipes (name TEXT)")
    sqlite.prepare(f"sqlite:///{path}")
    assert {"recipes"} == tables(path)


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all, but long enough to look at")

    with pytest.raises(TrackingError, match="file is not a database"):
        connection.connect()


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "postgresql://localhost/mlflow", "sqlite://", "file:///tmp/x"]
)
def test_other_stores_are_left_alone(uri: str) -> None:
    sqlite.prepare(uri)
