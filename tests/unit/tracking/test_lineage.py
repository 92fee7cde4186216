"""Which code a run was made by."""

import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import __version__
from pipeline.tracking import lineage, store
from tests.runs import new_run

PROJECT = Path(__file__).parents[3]


@pytest.mark.usefixtures("new_store")
def test_a_run_records_the_version_and_the_commit_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "log_inputs", lambda *_, **named: None)
    run_id = new_run("gru")
    run = store.get_run(run_id)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S607

    lineage.log_origin(run, SimpleNamespace(), gpus=[])  # type: ignore[arg-type]

    tags = store.get_run(run_id).tags
    assert __version__ == tags["version.pipeline"]
    assert head.stdout.strip() == tags.get("mlflow.source.git.commit", "")
    assert not any(str(PROJECT) in text for name, text in tags.items() if not name.startswith("mlflow."))


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        ('{"url": "https://host/it.git", "vcs_info": {"vcs": "git", "commit_id": "f00d"}}', "f00d"),
        ('{"url": "file:///home/me/it", "dir_info": {}}', ""),
        (None, ""),
    ],
)
def test_a_package_installed_from_git_knows_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: str | None, commit: str
) -> None:
    monkeypatch.setattr(lineage, "__file__", str(tmp_path / "site-packages/pipeline/tracking/lineage.py"))
    installed = SimpleNamespace(read_text=lambda name: origin)
    monkeypatch.setattr(metadata, "distributions", lambda name: [installed])

    assert commit == lineage.commit()
