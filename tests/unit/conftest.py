"""A new tracking store for each test."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def new_store(made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the test track into a copy of the empty store; return its file."""
    import mlflow  # imported here, because most tests need neither

    from pipeline.tracking import connection

    file = Path(shutil.copy(made_store, tmp_path / "mlflow.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    monkeypatch.setattr(connection, "PAUSE", 0.0)
    monkeypatch.chdir(tmp_path)
    return file
