"""Promotions of real models in a real registry."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.progress import Reporter
from pipeline.tracking import models, promotion
from pipeline.tracking.promotion import promote
from tests.integration.conftest import DIGITS, Command, models_of, run_id_in


@pytest.fixture(scope="module")
def better(digits_run: str) -> str:
    """Return the id of a run of three epochs."""
    return digits_run


@pytest.fixture(scope="module")
def worse(command: Command, digits_run: str) -> str:
    """Return the id of a run of one epoch."""
    return run_id_in(command(*DIGITS, "--epochs", 1).output)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a registered model for this test only."""
    return str(request.node.name)


def aliases(name: str) -> dict[str, str]:
    """Return the run of each alias."""
    client = MlflowClient()
    found = client.get_registered_model(name).aliases
    return {alias: str(client.get_model_version(name, number).run_id) for alias, number in found.items()}


def test_the_first_is_champion_under_the_name_of_data_and_cell_and_serves(command: Command, better: str) -> None:
    output = command("promote", "--run-id", better).output

    assert "mlflow models serve -m models:/digits-gru@champion --env-manager uv" in " ".join(output.split())
    assert {"champion": better} == aliases("digits-gru")
    for name, said in (
        ("digits-gru", "a model with a previous champion"),
        ("digits-grue", "must be a registered model of this"),
    ):
        assert said in command("promote", "--rollback", "--name", name, exit_code=1).output
    images = np.zeros((5, 8, 8), np.float32)
    answers = mlflow.pyfunc.load_model("models:/digits-gru@champion").predict(images)
    np.testing.assert_array_equal(mlflow.pyfunc.load_model(f"runs:/{better}/digits-gru").predict(images), answers)


def test_the_better_one_is_champion_until_a_rollback_and_each_version_records_the_decision(
    command: Command, worse: str, better: str, name: str
) -> None:
    command("promote", "--run-id", worse, "--name", name)
    assert "Version 2" in command("promote", "--run-id", better, "--name", name).output
    assert {"champion": better, "previous": worse} == aliases(name)
    client = MlflowClient()
    promoted, accuracy = client.get_model_version(name, "2"), mlflow.get_run(better).data.metrics["best_val_accuracy"]
    assert {"promotion": "promoted", "best_val_accuracy": str(accuracy)}.items() <= promoted.tags.items()
    assert f"Promoted: validation accuracy {accuracy:.2%} beats" in str(promoted.description)

    command("promote", "--run-id", worse, "--name", name)  # finds the same version

    assert {"champion": better, "previous": worse} == aliases(name)
    first = client.get_model_version(name, "1")
    assert "not promoted" == first.tags["promotion"]
    assert "does not beat" in str(first.description)
    assert 2 == len(client.search_model_versions(f"name = '{name}'"))

    command("promote", "--rollback", "--name", name)
    assert {"champion": worse, "previous": better} == aliases(name)
    command("promote", "--run-id", worse, "--name", name)  # changes nothing, although `better` is better
    assert {"champion": worse, "previous": better} == aliases(name)
    command("promote", "--rollback", "--name", name)
    assert {"champion": better, "previous": worse} == aliases(name)


def test_one_on_other_data_is_refused_with_the_reason_until_it_is_forced(
    command: Command, better: str, worse: str, name: str
) -> None:
    client, digest = MlflowClient(), mlflow.get_run(better).data.tags["dataset_digest"]
    command("promote", "--run-id", worse, "--name", name)
    client.set_tag(better, "dataset_digest", "0" * 64)
    refused = command("promote", "--run-id", better, "--name", name, exit_code=2)

    assert {"champion": worse} == aliases(name)
    assert "--force" in refused.output
    version = client.get_model_version(name, "2")
    assert "refused" == version.tags["promotion"]
    assert digest[:8] in str(version.description)
    assert "0" * 8 in str(version.description)

    command("promote", "--run-id", better, "--name", name, "--force")

    client.set_tag(better, "dataset_digest", digest)
    assert {"champion": better, "previous": worse} == aliases(name)


class EndedError(Exception):
    """The process ends here."""


def test_a_promotion_or_rollback_interrupted_anywhere_leaves_a_champion_and_is_completed_by_the_next(
    worse: str, better: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ending(write: Callable[..., None], *arguments: Any) -> None:
        if next(left, None) is None:
            raise EndedError
        write(*arguments)

    promote(Reporter(), worse, name)
    monkeypatch.setattr(models, "check_serves", lambda *_, **named: None)
    for function in ("record", "move"):
        monkeypatch.setattr(promotion, function, partial(ending, getattr(promotion, function)))
    for after in range(3):
        left = iter(range(after))
        with pytest.raises(EndedError):
            promote(Reporter(), better, name)
        assert worse == aliases(name)["champion"]
    left = iter(range(9))
    promote(Reporter(), better, name)
    assert {"champion": better, "previous": worse} == aliases(name)

    for after, champion in enumerate([better, better, better, worse]):
        left = iter(range(after))
        with pytest.raises(EndedError):
            promote(Reporter(), None, name, rollback=True)
        assert champion == aliases(name)["champion"]


def test_of_two_simultaneous_promotions_the_better_version_stays(
    command: Command, worse: str, better: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better version is promoted while the other one, which would be the first champion, is loaded."""
    check = models.check_serves

    def slow(address: str, *, trust: bool) -> None:
        monkeypatch.setattr(models, "check_serves", check)
        promote(Reporter(), better, name)
        check(address, trust=trust)

    monkeypatch.setattr(models, "check_serves", slow)
    promote(Reporter(), worse, name)

    assert {"champion": better} == aliases(name)


def test_a_model_that_does_not_serve_is_not_promoted(command: Command, worse: str, better: str, name: str) -> None:
    command("promote", "--run-id", worse, "--name", name)
    (model,) = models_of(mlflow.get_run(better))
    graph = Path(model.artifact_location, "artifacts/saved_model/saved_model.pb")
    content = graph.read_bytes()
    graph.write_bytes(b"")

    command("promote", "--run-id", better, "--name", name, exit_code=1)

    graph.write_bytes(content)
    assert {"champion": worse} == aliases(name)
