"""How a run ends, whatever happens to the server and to the process meanwhile, in a real store."""

import os
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from pipeline.tracking import lifecycle, schema, store
from tests.runs import new_run

LOCKED = "(sqlite3.OperationalError) database is locked"


pytestmark = pytest.mark.usefixtures("new_store")


def remove_for_good(run_id: str) -> None:
    """As `mlflow gc` does it, in less time."""
    there: Any = SqlAlchemyStore
    there(os.environ["MLFLOW_TRACKING_URI"], "http://nowhere.invalid")._hard_delete_run(run_id)


def failing(call: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Return a call that finds the store locked so many times before it does what it does."""
    left = iter(range(times))

    def fails(*arguments: Any, **named: Any) -> Any:
        if next(left, None) is not None:
            raise MlflowException(LOCKED)
        return call(*arguments, **named)

    return fails


def test_a_run_that_ends_while_the_server_is_away_is_finished_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with lifecycle.open_run("gru", {}) as run:
        end = mlflow.MlflowClient.set_terminated
        monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", failing(end, 3))

    assert "FINISHED" == store.get_run(run.run_id).status


def test_a_run_whose_failure_nobody_takes_is_left_by_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes next in the process opens a run of its own."""
    end = mlflow.MlflowClient.set_terminated

    def fail() -> None:
        with lifecycle.open_run("gru", {}):
            monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", failing(end, 1_000_000))
            raise RuntimeError("the reason")

    with pytest.raises(RuntimeError, match="the reason"):
        fail()
    monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", end)

    assert lifecycle.active_run() is None
    with lifecycle.open_run("gru", {}) as run:
        assert run.run_id == lifecycle.active_run()


def test_ctrl_c_just_as_a_run_has_been_opened_ends_it_as_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the call into the database, and comes with its end."""
    start = mlflow.start_run

    def interrupted(**named: Any) -> Any:
        start(**named)
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow, "start_run", interrupted)
    with pytest.raises(KeyboardInterrupt), lifecycle.open_run("gru", {}):
        pass

    assert lifecycle.active_run() is None
    (run,) = store.find_runs("")
    assert "KILLED" == run.status
    assert "Stopped by Ctrl-C" in run.tags[schema.ERROR]


def test_the_run_of_mlflow_run_is_known_after_it_has_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow drops the variable; what is said to the user afterwards depends on it."""
    own = new_run("gru")
    monkeypatch.setenv("MLFLOW_RUN_ID", own)
    with lifecycle.open_run("gru", {}) as run:
        assert own == run.run_id
    assert own == os.environ["MLFLOW_RUN_ID"]


def test_a_run_of_mlflow_run_whose_results_are_elsewhere_is_below_that_run() -> None:
    parent, run_id = map(new_run, ("gru", "clumsy-fish-12"))
    lifecycle.describe_stage_run(run_id, "report", parent)
    run = store.get_run(run_id)
    assert ("report", "stage", parent) == (run.name, run.tags[schema.KIND], run.tags[schema.PARENT])


def test_a_run_is_found_until_it_is_removed_for_good() -> None:
    run_id = new_run("gru")
    lifecycle.delete_run(run_id)
    found = store.find_run(run_id)
    assert found is not None
    assert found.is_deleted
    remove_for_good(run_id)
    assert store.find_run(run_id) is None
