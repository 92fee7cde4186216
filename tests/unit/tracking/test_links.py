"""Where a person looks at a run of a local store; of a server's see ``test_project``."""

from pathlib import Path

import pytest

from pipeline.tracking import links, store


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "mlflow ui"),
        ("sqlite:///{folder}/mlflow.db", "mlflow ui"),
        ("sqlite:///{folder}/other.db", "mlflow ui --backend-store-uri sqlite:///{folder}/other.db"),
        ("postgresql://me:secret@db/runs", "mlflow ui --backend-store-uri 'postgresql://me:***@db/runs'"),
    ],
)
def test_a_local_store_is_looked_at_with_the_ui(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=tmp_path))
    monkeypatch.setattr(store, "get_run", lambda run_id: None)

    assert f"Look at it with: {expected.format(folder=tmp_path)}" == links.look_at("0" * 32)
