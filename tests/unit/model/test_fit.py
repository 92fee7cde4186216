"""The epochs of a run: their records, the kept weights, and resuming from a snapshot."""

from dataclasses import asdict

import pytest

from pipeline import epochs
from pipeline.model.fit import Fit
from tests.unit.model.test_trainer import assert_same, trainer

NUMBERS = ("cost", "accuracy", "val_cost", "val_accuracy", "learning_rate")


@pytest.fixture(scope="module")
def whole() -> Fit:
    """Return an uninterrupted run of six epochs."""
    training = Fit(trainer(learning_rate=0.05))
    assert [1, 2, 3, 4, 5, 6] == [record.epoch for record in training.epochs(6)]
    return training


def numbers(training: Fit) -> list[dict[str, float]]:
    return [{name: asdict(record)[name] for name in NUMBERS} for record in training.history]


def test_a_resumed_training_gives_the_same_numbers(whole: Fit) -> None:
    begun, other = (Fit(trainer(learning_rate=0.05)) for _ in range(2))
    told: list[tuple[int, int, int]] = []
    list(begun.epochs(2, lambda *progress: told.append(progress)))
    other.restore(begun.snapshot())

    assert [(1, 10, 10), (2, 10, 10)] == [(epoch, done, total) for epoch, done, total in told if done == total]
    assert [3, 4, 5, 6] == [record.epoch for record in other.epochs(6)]
    assert numbers(whole) == numbers(other)
    assert [] == list(whole.epochs(6))


def test_the_model_has_the_weights_of_the_kept_epoch(whole: Fit) -> None:
    short = Fit(trainer(learning_rate=0.05))
    list(short.epochs(epochs.best(whole.history).epoch))

    assert_same(short.trainer.weights(), whole.model().get_weights())
