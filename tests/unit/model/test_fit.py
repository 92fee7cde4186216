"""The epochs of a training: their records, which weights are kept, and going on from a snapshot."""

from dataclasses import asdict

import numpy as np
import pytest

from pipeline import records
from pipeline.data.splits import Split
from pipeline.model.fit import Fit
from pipeline.model.trainer import Trainer
from pipeline.settings import Settings

NUMBERS = ("cost", "accuracy", "val_cost", "val_accuracy", "learning_rate")


def split(count: int, seed: int) -> Split:
    """Images of 4 × 3 pixels whose label, 0 or 1, is whether the upper half is the brighter."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 3), dtype=np.uint8)
    upper, lower = images[:, :2].astype(int).sum((1, 2)), images[:, 2:].astype(int).sum((1, 2))
    return Split(images=images, labels=(upper > lower).astype(np.uint8))


def fit() -> Fit:
    settings = Settings.of({"cell": "gru", "hidden_units": 8, "learning_rate": 0.05, "batch_size": 10, "shards": 2})
    return Fit(Trainer(settings, split(100, seed=0), split(20, seed=1), classes=2))


@pytest.fixture(scope="module")
def whole() -> Fit:
    """Return a training of six epochs that was not stopped."""
    training = fit()
    assert [1, 2, 3, 4, 5, 6] == [record.epoch for record in training.epochs(6)]
    return training


def numbers(training: Fit) -> list[dict[str, float]]:
    return [{name: asdict(record)[name] for name in NUMBERS} for record in training.history]


def test_a_training_goes_on_from_a_snapshot_to_the_same_numbers(whole: Fit) -> None:
    begun, other = fit(), fit()
    for record in begun.epochs(6):
        if record.epoch == 2:
            break
    other.restore(begun.snapshot())

    assert [3, 4, 5, 6] == [record.epoch for record in other.epochs(6)]

    assert numbers(whole) == numbers(other)


def test_the_model_has_the_weights_of_the_kept_epoch(whole: Fit) -> None:
    kept = records.kept(whole.history).epoch
    short = fit()
    for _ in short.epochs(kept):
        pass
    expected = short.trainer.weights()

    for weights, actual in zip(expected, whole.model().get_weights(), strict=True):
        np.testing.assert_array_equal(weights, actual)


def test_what_is_done_already_is_not_done_again(whole: Fit) -> None:
    assert [] == list(whole.epochs(6))


def test_batches_are_told_with_their_epoch() -> None:
    told: list[tuple[int, int, int]] = []
    for _ in fit().epochs(2, lambda *progress: told.append(progress)):
        pass

    assert [(1, 10, 10), (2, 10, 10)] == [(epoch, done, total) for epoch, done, total in told if done == total]
