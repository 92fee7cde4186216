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


def test_all_beyond_the_tutorial_is_off() -> None:
    settings = Settings()

    assert ("tutorial", "constant", "none", "orthogonal") == (
        settings.recipe,
        settings.schedule,
        settings.augmentation,
        settings.initializer,
    )
    assert {0} == {
        settings.warmup_epochs,
        settings.dropout,
        settings.weight_decay,
        settings.clip_norm,
        settings.ema,
        settings.label_smoothing,
    }


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
        ("recipe", "lucky", "'tutorial', 'accurate' or 'quick'"),
        ("schedule", "linear", "'constant' or 'cosine'"),
        ("augmentation", "elastic", "'none' or 'affine'"),
        ("initializer", "zeros", "'orthogonal' or 'identity'"),
        ("warmup_epochs", -1, "greater than or equal to 0"),
        ("dropout", 1, "less than 1"),
        ("ema", 1.0, "less than 1"),
        ("label_smoothing", 1.0, "less than 1"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("clip_norm", -1.0, "greater than or equal to 0"),
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


def test_resolved_parameters_are_those_that_the_data_settles() -> None:
    values = Settings.of({"batch_size": 100}).resolved(dataset="custom-1234abcd", images=100, height=8, width=6)

    assert {"dataset": "custom-1234abcd", "steps": 8, "batch_size": 100, "cell": "gru"}.items() <= values.items()


def test_a_batch_of_more_than_all_images_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size: expected at most the 99 training images of digits, received 100"):
        Settings.of({"batch_size": 100}).resolved(dataset="digits", images=99, height=8, width=8)
