"""The first start of a SQLite store: one process makes it, whole or not at all, and the others use it.

MLflow makes the tables of a new file in dozens of migrations. Two processes that do so at once die of each other's
tables, and one that is killed among them leaves a file that no later start can use. So the tables are made under
another name, behind a lock, and the file gets its own name when it is whole.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock

CONTENTS = ("runs", "logged_models", "registered_models", "datasets", "trace_info")
"""Tables of which a row is something that a person would miss."""


def prepare(tracking_uri: str) -> None:
    """Make sure that the file of a SQLite store has its tables; other stores are left alone.

    Raises:
        OSError: the file's folder cannot be written.
        sqlite3.Error: the file is no SQLite file, or is damaged.
    """
    path = file_of(tracking_uri)
    if path is None or _is_whole(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if _is_whole(path):
            return
        incoming = path.with_name(f"{path.name}.incoming")
        _remove(incoming)
        _make_tables(incoming)
        incoming.replace(path)
        _remove(path, journals=True)


def file_of(tracking_uri: str) -> Path | None:
    """Return the file of a SQLite store; None where the store is another one."""
    if not tracking_uri.startswith("sqlite:"):
        return None
    name = sqlalchemy.engine.make_url(tracking_uri).database
    return Path(name) if name and name != ":memory:" else None


def _is_whole(path: Path) -> bool:
    """Return whether a file needs nothing made: it has all tables, or something in it that must not be lost."""
    from mlflow.store.db import utils as untyped

    utils: Any = untyped

    if not path.exists() or not path.stat().st_size:
        return False
    if _holds_something(path):
        return True
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        return bool(
            utils._all_tables_exist(engine) and utils._get_schema_version(engine) == utils._get_latest_schema_revision()
        )
    finally:
        engine.dispose()


def _holds_something(path: Path) -> bool:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        foreign = tables and not tables & {"experiments", "alembic_version"}
        queries = [f"SELECT 1 FROM {table} LIMIT 1" for table in CONTENTS if table in tables]  # noqa: S608 - names above
        if "experiments" in tables:
            queries.append("SELECT 1 FROM experiments WHERE experiment_id != 0")  # which MLflow makes with the tables
        return bool(foreign) or any(store.execute(query).fetchone() for query in queries)


def _make_tables(path: Path) -> None:
    from mlflow.store.db import utils as untyped

    utils: Any = untyped

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        utils._initialize_tables(engine)
    finally:
        engine.dispose()


def _remove(path: Path, *, journals: bool = False) -> None:
    """Remove what a killed process left of a file; or only its journals, which belong to the one before."""
    for ending in ("-journal", "-wal", "-shm") if journals else ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
