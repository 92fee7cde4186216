import os
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.settings import DataSettings, Settings


def test_the_defaults_are_those_of_the_tutorial() -> None:
    settings = Settings()

    tutorial = ("mnist", 0, 128, 1, "forward", 0.001, 30, 128)
    assert tutorial == (
        settings.dataset,
        settings.steps,
        settings.hidden_units,
        settings.layers,
        settings.direction,
        settings.learning_rate,
        settings.epochs,
        settings.batch_size,
    )


def test_what_is_given_is_taken_and_the_rest_keeps_its_default() -> None:
    settings = Settings.of({"cell": "lstm", "learning_rate": 0.01, "data_dir": Path("elsewhere")})

    assert ("lstm", 0.01, Path("elsewhere"), 30) == (
        settings.cell,
        settings.learning_rate,
        settings.data_dir,
        settings.epochs,
    )


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("cell", "transformer", "'rnn', 'lstm' or 'gru'"),
        ("dataset", "cifar", "'mnist', 'fashion-mnist', 'kmnist' or 'digits'"),
        ("epochs", 0, "greater than or equal to 1"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("learning_rate", -0.001, "greater than 0"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", float("nan"), "a finite number"),
        ("learning_rate", float("inf"), "a finite number"),
        ("steps", -1, "greater than or equal to 0"),
        ("seed", 2**31, "less than or equal to 2147483647"),
        ("hidden_units", "many", "a valid integer"),
        ("direction", "sideways", "'forward' or 'bidirectional'"),
        ("source", "", "at least 1 character"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_the_expectation_and_what_came(
    name: str, value: object, expectation: str
) -> None:
    with pytest.raises(UsageError) as error:
        Settings.of({name: value})

    message = str(error.value)
    assert message.startswith(f"{name}: ")
    assert expectation in message
    assert f"received {value!r}" in message


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"epochs: .* batch_size: "):
        Settings.of({"epochs": 0, "batch_size": 0})


def test_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="momentum"):
        Settings.of({"momentum": 0.9})


def test_download_takes_no_parameter_of_the_training() -> None:
    with pytest.raises(UsageError, match="cell"):
        DataSettings.of({"cell": "gru"})


@pytest.mark.parametrize(("cores", "shards"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_a_batch_is_cut_into_as_many_shards_as_there_are_cores_at_most_four(
    monkeypatch: pytest.MonkeyPatch, cores: int, shards: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)

    assert shards == Settings.of({}).shards


def test_a_batch_is_cut_into_no_more_shards_than_it_has_images() -> None:
    assert Settings.of({"batch_size": 3, "shards": 8}).shards == 3
