"""The executor for each value of `--on`, and the error if it is not available."""

import pytest

from pipeline.errors import PipelineError, TrackingError, UsageError
from pipeline.execution import executors
from pipeline.execution.worker_pool import Executor
from tests.servers import free_port


def refused(on: str, kind: type[PipelineError] = UsageError) -> str:
    with pytest.raises(kind) as raised, executors.open_executor(on):
        pass
    return str(raised.value)


def test_local_uses_this_machine_and_an_unknown_executor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with executors.open_executor("local") as executor:
        assert isinstance(executor, Executor)
    assert "on: must be local, ray or an address such as ray://HOST:10001; got 'spark'." == refused("spark")
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    assert "pip install -e '.[ray]'" in refused("ray")


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql://me:secret@db.example/mlflow"])
def test_a_store_that_other_machines_do_not_reach_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import ray_fixtures  # noqa: F401 - before ray, which reads the environment when it is imported

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    said = refused("ray", TrackingError)

    assert "Start one with `mlflow server`" in said
    assert "secret" not in said


@pytest.mark.parametrize("on", ["ray", "ray://127.0.0.1:{port}"])
def test_an_address_without_a_cluster_is_refused_within_seconds(on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import ray_fixtures  # noqa: F401 - before ray, which reads the environment when it is imported

    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")

    said = refused(on.format(port=port))

    assert said.startswith("on: no Ray cluster answers at ")
    assert f"127.0.0.1:{port} (RAY_ADDRESS): Connection refused." in said
