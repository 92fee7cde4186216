"""The end of a run when the server or the process fails, the commit that it records, and its page in the UI."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline import __version__
from pipeline.tracking import lifecycle, schema, store
from tests.runs import new_run

PROJECT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("new_store")


def failing(call: Callable[..., Any], failures: list[bool]) -> Callable[..., Any]:
    """Return a function that finds the store locked if the list says so, and works otherwise."""
    left = iter(failures)

    def fails(*arguments: Any, **named: Any) -> Any:
        if next(left, False):
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return call(*arguments, **named)

    return fails


def test_a_run_that_ends_while_the_server_is_unreachable_is_finished_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with lifecycle.open_run("gru", {}) as run:
        monkeypatch.setattr(MlflowClient, "set_terminated", failing(MlflowClient.set_terminated, [True] * 3))
    assert "FINISHED" == store.get_run(run.run_id).status


def test_a_process_leaves_a_run_whose_failure_it_cannot_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command of the process opens another run."""
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", failing(MlflowClient.set_terminated, [True] * 99))
        with pytest.raises(RuntimeError, match="the reason"), lifecycle.open_run("gru", {}):
            raise RuntimeError("the reason")
    assert mlflow.active_run() is None
    with lifecycle.open_run("gru", {}) as run:
        active = mlflow.active_run()
        assert active is not None
        assert run.run_id == active.info.run_id


def test_ctrl_c_just_as_a_run_has_been_opened_ends_it_as_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal waits for the call into the database, and arrives at its end."""
    start = mlflow.start_run

    def interrupted(**named: Any) -> Any:
        start(**named)
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow, "start_run", interrupted)
    with pytest.raises(KeyboardInterrupt), lifecycle.open_run("gru", {}):
        pass
    assert mlflow.active_run() is None
    (run,) = store.find_runs("")
    assert ("KILLED", lifecycle.STOPPED) == (run.status, run.tags[schema.ERROR])


def test_the_run_of_mlflow_run_is_used_after_a_short_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    project = new_run("gru")
    monkeypatch.setenv("MLFLOW_RUN_ID", project)
    # The server answers the request for the name of the run, but not the request to open it.
    monkeypatch.setattr(MlflowClient, "get_run", failing(MlflowClient.get_run, [False, True]))
    with lifecycle.open_run("gru", {}) as opened:
        assert project == opened.run_id
    assert project == os.environ["MLFLOW_RUN_ID"]  # MLflow drops it, but later messages to the user need it


def test_a_run_records_the_version_and_the_commit_of_the_package() -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S607

    tags = lifecycle.origin(gpus=[])
    assert (__version__, head.stdout.strip()) == (tags["version.pipeline"], tags.get("mlflow.source.git.commit", ""))
    assert not any(str(PROJECT) in text for name, text in tags.items() if not name.startswith("mlflow."))


# --- what a person sees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "type `mlflow ui` and open http://127.0.0.1:5000/"),
        ("sqlite:///{folder}/mlflow.db", "type `mlflow ui` and open http://127.0.0.1:5000/"),
        (
            "sqlite:///{folder}/other.db",
            "type `mlflow ui --backend-store-uri sqlite:///{folder}/other.db` and open http://127.0.0.1:5000/",
        ),
        (
            "postgresql://me:secret@db/runs",
            "type `mlflow ui --backend-store-uri postgresql://db/runs` and open http://127.0.0.1:5000/",
        ),
        ("https://me:secret@host/mlflow/", "open https://host/mlflow/"),
    ],
)
def test_the_sentence_names_the_page_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=tmp_path))
    monkeypatch.setattr(lifecycle, "get_run", lambda run_id: SimpleNamespace(run_id=run_id, experiment_id="3"))
    page = "#/experiments/3/runs/7ab?workflowType=machine_learning"
    said = f"Run ID: 7ab. To see the search, {expected.format(folder=tmp_path)}{page}"
    assert said == lifecycle.where("7ab", "the search")
