"""A store of its own for each test, copied: making one takes seconds."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a store that holds nothing."""
    import mlflow  # here: most tests need neither

    from pipeline.tracking import connection

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # what others have set
        connection.connect()
    return folder / "mlflow.db"


@pytest.fixture
def new_store(made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of it the one that the test tracks into; return its file."""
    import mlflow

    from pipeline.tracking import connection

    file = Path(shutil.copy(made_store, tmp_path / "mlflow.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    monkeypatch.setattr(connection, "PAUSE", 0.0)
    monkeypatch.chdir(tmp_path)
    return file
