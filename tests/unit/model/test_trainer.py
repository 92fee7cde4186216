"""The trainer: its costs compared with Keras's own training, and changes that must not affect them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from pipeline import epochs
from pipeline.data.splits import Split
from pipeline.epochs import EpochRecord
from pipeline.errors import TrainingError
from pipeline.kinds.images import Images
from pipeline.kinds.kind import shuffled
from pipeline.model import trainer as training
from pipeline.model.trainer import Trainer
from pipeline.settings import Settings

CELLS = ["rnn", "lstm", "gru", "mgu"]


def random_split(count: int, seed: int = 0) -> Split:
    """Return images of 4 × 3 pixels; the label is 1 if the upper half is brighter."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 3), dtype=np.uint8)
    upper, lower = images[:, :2].astype(int).sum((1, 2)), images[:, 2:].astype(int).sum((1, 2))
    return Split(examples=images, labels=(upper > lower).astype(np.uint8))


OWN = {"hidden_units": 8, "learning_rate": 0.01, "batch_size": 10, "shards": 2}


def trainer(
    train: Split | None = None,
    *,
    fast: bool | None = None,
    **settings: Any,
) -> Trainer:
    given, split = Settings.of(OWN | settings), train or random_split(100)
    validation = random_split(23, seed=9) if train is None else split
    return Trainer(
        given, split, validation, kind=Images(height=4, width=3), classes=int(split.labels.max()) + 1, fast=fast
    )


def costs(trainer: Trainer, epochs: int = 2) -> list[float]:
    return [trainer.epoch(number).cost for number in range(1, epochs + 1)]


def numbers(record: EpochRecord) -> list[float]:
    return [record.cost, record.accuracy, record.val_cost, record.val_accuracy]


def assert_same(expected: Sequence[Any], actual: Sequence[Any]) -> None:
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_close(expected: list[Any], actual: list[Any], *, rtol: float = 1e-3, atol: float = 1e-4) -> None:
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_allclose(other, one, rtol=rtol, atol=atol)


def assert_resumes(expected: Trainer, actual: Trainer) -> None:
    """Train one trainer for three epochs; the other one loads its state after two and gives the same third."""
    costs(expected, 2)
    actual.restore(expected.snapshot())
    assert numbers(expected.epoch(3)) == numbers(actual.epoch(3))
    assert_same(expected.snapshot().state, actual.snapshot().state)


def assert_trains_as_keras(ours: Trainer, stock: keras.Model, split: Split, validation: Split, order: Any) -> None:
    """One epoch of Keras's own updates on the same batches of 10; the costs are those before each update."""
    loss = "sparse_categorical_crossentropy"
    stock.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], run_eagerly=True)  # tracing takes longer
    expected = np.zeros(2)
    for part in np.split(order, range(10, len(order), 10)):
        x, y = split.examples[part].astype("float32"), split.labels[part]
        expected += np.array(stock.test_on_batch(x, y)) * len(part) / len(order)
        stock.train_on_batch(x, y)

    result = ours.epoch(1)

    assert pytest.approx(expected, rel=1e-5) == (result.cost, result.accuracy)
    assert_close(stock.get_weights(), ours.model.get_weights())
    evaluated = stock.evaluate(validation.examples.astype("float32"), validation.labels, verbose=0)
    assert pytest.approx(evaluated, rel=1e-3) == (result.val_cost, result.val_accuracy)


@pytest.mark.parametrize(
    ("cell", "count", "others"),
    [
        ("rnn", 20, {}),
        ("mgu", 20, {}),
        ("lstm", 17, {"layers": 2, "direction": "bidirectional"}),
        ("gru", 20, {"fast": False}),
    ],
)
def test_costs_equal_stock_keras(cell: str, count: int, others: dict[str, Any]) -> None:
    """Of 17 images, the last batch has 7."""
    split = random_split(count)
    ours = trainer(split, cell=cell, shards=2, **others)
    stock = trainer(split, cell=cell, **others).model  # the same seed, so the same weights
    assert_trains_as_keras(ours, stock, split, split, np.asarray(shuffled(count, (1, 1))))


@pytest.mark.parametrize(
    ("count", "batch_size", "batches", "samples"),
    [(45, 32, 2, 45), (1_020, 100, 10, 1_000), (1_021, 100, 11, 1_021)],
)
def test_an_epoch_skips_at_most_2_percent_of_the_images(
    count: int, batch_size: int, batches: int, samples: int
) -> None:
    """By hand: 20 of 1,020 are left out; 21 of 1,021 are a batch."""
    ours = trainer(random_split(count), batch_size=batch_size, hidden_units=1, shards=2)
    calls: list[tuple[int, ...]] = []

    result = ours.epoch(7, lambda *call: calls.append(call))

    assert batches == ours.batches
    assert samples == pytest.approx(result.samples_per_second * result.epoch_seconds)
    assert (7, batches, batches) == calls[-1]
    assert calls == sorted({*calls})


@pytest.mark.parametrize(("shards", "augmentation"), [(3, "elastic"), (10, "none")])
def test_shards_change_a_cost_by_rounding_only(shards: int, augmentation: str) -> None:
    one, several = (trainer(shards=number, augmentation=augmentation) for number in (1, shards))
    assert pytest.approx(costs(one), rel=1e-5) == costs(several)


def test_each_epoch_is_reported_and_the_weights_of_the_best_one_are_kept() -> None:
    whole, short = (trainer(learning_rate=0.05) for _ in range(2))
    assert [1, 2, 3, 4, 5, 6] == [record.epoch for record in whole.epochs(6)]
    assert [] == list(whole.epochs(6))
    list(short.epochs(epochs.best(whole.history).epoch))
    assert_same(short.weights(), whole.best_model().get_weights())


def test_the_length_of_a_call_changes_no_bit(monkeypatch: Any) -> None:
    expected, actual = (trainer(cell="gru", shards=3) for _ in range(2))
    expected_costs = costs(expected)
    monkeypatch.setattr(training, "CHUNK_SECONDS", 0.0)  # one batch per call
    assert expected_costs == costs(actual)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    chance: dict[str, Any] = {"dropout": 0.5, "augmentation": "elastic"}
    one, same, of_seed_2, of_epoch_1 = (trainer(**chance, seed=seed) for seed in (1, 1, 2, 1))
    assert one.epoch(2).cost == (second := same.epoch(2).cost)
    assert one.epoch(5).cost == same.epoch(5).cost
    assert second not in (of_seed_2.epoch(2).cost, of_epoch_1.epoch(1).cost)


EVERYTHING: dict[str, Any] = {
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "augmentation": "elastic",
    "dropout": 0.3,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "clip_norm": 1,
    "ema": 0.9,
}


@pytest.mark.parametrize(
    ("fast", "settings"),
    [
        (True, EVERYTHING),
        (False, EVERYTHING),
        (None, {"cell": "keras.layers:GRUCell", "ema": 0.9, "dropout": 0.2}),
    ],
)
def test_a_resumed_run_gives_the_same_bits(fast: bool | None, settings: dict[str, Any]) -> None:
    assert_resumes(*(trainer(random_split(45), fast=fast, epochs=3, **settings) for _ in range(2)))


def test_a_trainer_that_begins_again_gives_the_numbers_of_a_new_one() -> None:
    used, expected = (trainer(random_split(45), seed=seed, epochs=3, **EVERYTHING) for seed in (1, 2))
    list(used.epochs(2))
    used.begin_again(Settings.of(OWN | {"epochs": 3, "seed": 2} | EVERYTHING))
    assert list(map(numbers, expected.epochs(2))) == list(map(numbers, used.epochs(2)))
    assert_same(expected.snapshot().state, used.snapshot().state)


@pytest.mark.parametrize(("fast", "augmentation"), [(False, "affine"), (True, "elastic")])
def test_augmentation_trains_on_other_images_in_each_epoch(fast: bool, augmentation: str) -> None:
    """With a learning rate of almost 0, the weights stay the same, so the costs of two epochs differ by the images."""
    still: dict[str, Any] = {"learning_rate": 1e-12, "batch_size": 100, "fast": fast}
    changes: list[dict[str, Any]] = [{}, {"augmented": 0.5}, {"distortion": 1.5}]
    augmented, half, stronger = (trainer(**still, augmentation=augmentation, **change) for change in changes)
    plain = trainer(**still)
    same, first = plain.epoch(1).cost, augmented.epoch(1).cost
    assert 5 == len({same, first, augmented.epoch(2).cost, half.epoch(1).cost, stronger.epoch(1).cost})
    assert pytest.approx(same, rel=0.1) == first
    assert plain.validate() == augmented.validate()


def test_label_smoothing_trains_like_keras_and_reports_the_plain_cost() -> None:
    split = random_split(10)
    ours = trainer(split, label_smoothing=0.2, shards=2)
    stock = trainer(split).model
    plain = trainer(split).epoch(1)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.2)
    stock.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=True)
    stock.train_on_batch(split.examples.astype("float32"), np.eye(2)[split.labels])
    assert pytest.approx(plain.cost, rel=1e-6) == ours.epoch(1).cost
    assert_close(stock.get_weights(), ours.model.get_weights())


@pytest.mark.parametrize("fast", [True, False])
def test_averaged_weights_are_validated_and_saved_but_not_trained_further(fast: bool) -> None:
    ours, raw = trainer(fast=fast, ema=0.9), trainer(fast=fast)
    assert costs(ours) == costs(raw)
    validation, kept = ours.validate(), ours.weights()
    assert_same(raw.weights(), ours.model.get_weights())
    raw.model.set_weights(kept)
    assert raw.validate() == validation
    assert not np.array_equal(kept[0], ours.model.get_weights()[0])


def test_a_cost_that_is_not_finite_stops_the_training() -> None:
    message = (
        r"Training stopped in epoch 3, batch \d+ of 10: the cost is (nan|inf)\. "
        r"Try a learning_rate below the present 3e\+38\."
    )
    with pytest.raises(TrainingError, match=message):
        trainer(learning_rate=3e38, cell="rnn").epoch(3)


def on_the_brink(labels: list[int], **settings: Any) -> Trainer:
    """Black images, which leave the state at 0. A 1 costs 1,000 nats, its gradient is 1e25, whose square is too large.

    A 0 costs nothing: its probability is 1, and its gradient 0.
    """
    split = Split(examples=np.zeros((len(labels), 4, 3), np.uint8), labels=np.array(labels, np.uint8))
    ready = trainer(split, batch_size=2, clip_norm=1.0, **settings)
    ready.model.layers[-2].set_weights([np.full((8, 2), [1e25, -1e25]), np.array([1_000, 0])])
    return ready


@pytest.mark.parametrize("begun", [0, 1])
def test_a_batch_whose_gradient_overflows_is_skipped(begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum, decay and averages would move the weights even with a gradient of 0."""
    monkeypatch.setattr(training, "MOST_SKIPPED", 1)
    ready = on_the_brink([0, 1], weight_decay=0.1, ema=0.9)
    iterations, _, *slots = ready.optimizer.variables
    iterations.assign(begun)
    for slot in slots:
        slot.assign(np.full(slot.shape, 0.5))
    before = ready.snapshot().state

    epoch = ready.epoch(1)

    assert (500, 0.5) == (epoch.cost, epoch.accuracy)
    assert 2 * begun == int(iterations.numpy())  # counted for the schedule of the learning rate
    iterations.assign(begun)
    assert_same(before, ready.snapshot().state)


def test_too_many_of_them_stop_the_training() -> None:
    with pytest.raises(TrainingError, match=r"in epoch 1: the gradients of \d+ of its 20 batches are not finite\. Try"):
        on_the_brink([0, 1] * 20).epoch(1)
