"""A new tracking store for each test, copied from one store, because creating one takes seconds."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an empty store."""
    import mlflow  # imported here, because most tests need neither

    from pipeline.tracking import connection

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # may be set by other tests
        connection.connect()
    return folder / "mlflow.db"


@pytest.fixture
def new_store(made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the test track into a copy of the empty store; return its file."""
    import mlflow

    from pipeline.tracking import connection

    file = Path(shutil.copy(made_store, tmp_path / "mlflow.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    monkeypatch.setattr(connection, "PAUSE", 0.0)
    monkeypatch.chdir(tmp_path)
    return file
