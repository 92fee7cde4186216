"""The trainer: its costs against Keras's own training, and what must not change them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import idx, network, training
from pipeline.errors import TrainingError, UsageError
from pipeline.settings import Settings
from pipeline.splits import Split
from pipeline.training import Trainer


def random_split(count: int, seed: int = 0) -> Split:
    """Images of 4 × 3 pixels whose label, 0 or 1, is whether the upper half is the brighter."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 3), dtype=np.uint8)
    upper, lower = images[:, :2].astype(int).sum((1, 2)), images[:, 2:].astype(int).sum((1, 2))
    return Split(images=images, labels=(upper > lower).astype(np.uint8))


def trainer(
    train: Split | None = None,
    *,
    batch_size: int = 10,
    shards: int = 2,
    seed: int = 1,
    learning_rate: float = 0.01,
    fast: bool | None = None,
    **settings: Any,
) -> Trainer:
    given = Settings.of({"hidden_units": 8, "batch_size": batch_size} | settings)
    split = train or random_split(105)
    height, width = split.images.shape[1:]
    return Trainer(
        network.build(given, height=height, width=width, classes=int(split.labels.max()) + 1),
        keras.optimizers.Adam(learning_rate),
        split,
        random_split(23, seed=9) if train is None else split,
        batch_size=batch_size,
        shards=shards,
        seed=seed,
        fast=fast,
    )


def costs(trainer: Trainer, epochs: int = 2) -> list[float]:
    return [trainer.epoch(number).cost for number in range(1, epochs + 1)]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_costs_are_those_of_stock_keras(cell: str) -> None:
    """Three updates by ``train_on_batch`` on the same batches; the cost before each is what an epoch averages."""
    ours = trainer(random_split(30), cell=cell, shards=3)
    stock = trainer(random_split(30), cell=cell).model  # the same seed, so the same weights
    stock.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    order = np.asarray(training._order(30, 1, 1)).reshape(3, 10)
    split = random_split(30)
    expected = np.array(
        [
            (stock.test_on_batch(x, y), stock.train_on_batch(x, y))[0]
            for x, y in ((split.images[part].astype("float32"), split.labels[part]) for part in order)
        ]
    )
    result = ours.epoch(1)
    assert pytest.approx(expected[:, 0].mean(), rel=1e-5) == result.cost
    assert pytest.approx(expected[:, 1].mean()) == result.accuracy
    for expected_weight, weight in zip(stock.get_weights(), ours.model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected_weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shards", [2, 3, 7, 10])
def test_shards_change_a_cost_by_rounding_only(shards: int) -> None:
    assert pytest.approx(costs(trainer(shards=1)), rel=1e-5) == costs(trainer(shards=shards))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_same_seed_gives_the_same_bits_however_an_epoch_is_cut(cell: str, monkeypatch: Any) -> None:
    expected = trainer(cell=cell, shards=3)
    actual = trainer(cell=cell, shards=3)
    expected_costs = costs(expected)
    monkeypatch.setattr(training, "CHUNK_SECONDS", 0.0)  # one batch a call
    assert expected_costs == costs(actual)
    for expected_weight, weight in zip(expected.model.get_weights(), actual.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected_weight)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    first, second = trainer(), trainer()
    assert first.epoch(2).cost == second.epoch(2).cost
    assert first.epoch(5).cost == second.epoch(5).cost
    assert trainer(seed=1).epoch(1).cost != trainer(seed=2).epoch(1).cost
    assert trainer().epoch(1).cost != trainer().epoch(2).cost


def test_the_order_holds_every_image_once() -> None:
    order = np.asarray(training._order(1_000, 3, 4))
    assert list(range(1_000)) == sorted(order)
    assert np.abs(np.corrcoef(order, np.arange(1_000))[0, 1]) < 0.1


def test_an_epoch_counts_full_batches() -> None:
    result = trainer(random_split(105), batch_size=10).epoch(1)
    assert result.samples == 100
    assert result.seconds > 0
    assert 0.3 < result.accuracy < 1


def test_progress_rises_to_the_number_of_batches() -> None:
    calls: list[tuple[int, int]] = []
    trainer(random_split(105)).epoch(1, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (10, 10)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_training_learns() -> None:
    ours = trainer(random_split(1_000), batch_size=20)
    assert costs(ours, 8)[-1] < 0.3
    assert ours.validate().accuracy > 0.8


@pytest.mark.parametrize("fast", [True, False])
def test_validation_is_what_keras_evaluates(fast: bool) -> None:
    ours = trainer(fast=fast)
    split = random_split(23, seed=9)
    ours.model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    cost, accuracy = ours.model.evaluate(split.images.astype("float32"), split.labels, verbose=0)
    assert pytest.approx((cost, accuracy), rel=1e-5) == tuple(ours.validate())


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_stock_layers_give_the_same_epoch_to_four_digits(cell: str) -> None:
    kind: dict[str, Any] = {"cell": cell, "layers": 2, "direction": "bidirectional", "batch_size": 16}
    expected = trainer(random_split(500), fast=False, **kind)
    actual = trainer(random_split(500), fast=True, **kind)
    assert pytest.approx(expected.epoch(1).cost, rel=1e-4) == actual.epoch(1).cost


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_mnist_epoch_equals_stock_to_four_digits(cell: str, mnist_folder: Path) -> None:
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    contents = (idx.decompress((mnist_folder / name).read_bytes(), name=name) for name in names)
    images, labels = (idx.read(content, name=name) for content, name in zip(contents, names, strict=True))
    split = Split(images=images[:3_200], labels=labels[:3_200])
    kind: dict[str, Any] = {"cell": cell, "hidden_units": 128, "batch_size": 128, "learning_rate": 0.001}
    expected, actual = (trainer(split, fast=fast, **kind).epoch(1).cost for fast in (False, True))
    assert pytest.approx(expected, rel=5e-5) == actual


def test_a_cost_that_is_not_finite_stops_the_training() -> None:
    message = (
        r"Training broke down in epoch 3, batch \d+ of 10: expected a finite cost, received (nan|inf)\. "
        r"It was stopped\. Try a lower learning_rate; it is 3e\+38\."
    )
    with pytest.raises(TrainingError, match=message):
        trainer(learning_rate=3e38, cell="rnn").epoch(3)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch_size: expected at most the 5 images, received 10\."):
        trainer(random_split(5), batch_size=10)


def test_threads_cannot_be_set_once_tensorflow_runs() -> None:
    tf.add(1, 1).numpy()
    assert training.configure_threads(2) is False


def test_threads_are_set_before_tensorflow_runs() -> None:
    code = (
        "import tensorflow as tf; from pipeline.training import configure_threads; print(configure_threads(2), "
        "tf.config.threading.get_intra_op_parallelism_threads())"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "1"]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_training_goes_on_from_its_state_as_if_it_had_not_stopped(cell: str) -> None:
    whole, begun, other = (trainer(cell=cell) for _ in range(3))
    expected = [whole.epoch(number).cost for number in (1, 2, 3)]
    assert expected[:2] == [begun.epoch(number).cost for number in (1, 2)]

    other.restore(begun.state())

    assert expected[2] == other.epoch(3).cost
    for left, right in zip(whole.state(), other.state(), strict=True):
        np.testing.assert_array_equal(left, right)
