"""Where trainings run, and what is said when they cannot run there."""

import pytest

from pipeline.errors import PipelineError, TrackingError, UsageError
from pipeline.execution import executors
from pipeline.execution.worker_pool import Executor
from tests.servers import free_port


def refused(on: str, kind: type[PipelineError]) -> str:
    with pytest.raises(kind) as raised, executors.open_executor(on):
        pass
    return str(raised.value)


def test_local_is_this_machine() -> None:
    with executors.open_executor("local") as executor:
        assert isinstance(executor, Executor)


def test_of_anything_else_is_said_what_there_is() -> None:
    assert refused("spark", UsageError).startswith("on: expected local, ray or an address such as ray://HOST:10001")


def test_without_ray_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)

    assert "pip install -e '.[ray]'" in refused("ray", UsageError)


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql://me:secret@db.example/mlflow"])
def test_a_store_that_other_machines_do_not_reach_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import ray_fixtures  # noqa: F401 - before ray, which reads the environment when it is imported

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    said = refused("ray", TrackingError)

    assert "Start one with `mlflow server`" in said
    assert "secret" not in said


@pytest.mark.parametrize("on", ["ray", "ray://127.0.0.1:{port}"])
def test_no_cluster_at_an_address_is_said_at_once(on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import ray_fixtures  # noqa: F401 - before ray, which reads the environment when it is imported

    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")

    said = refused(on.format(port=port), UsageError)

    assert said.startswith("on: expected a Ray cluster at ")
    assert f"127.0.0.1:{port}" in said
    assert "refused" in said
