"""Networks for sequences of different lengths: trained like stock Keras with a mask, and saved."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.data.splits import Split
from pipeline.kinds import known
from pipeline.kinds.kind import Kind
from pipeline.model import network
from pipeline.model.trainer import Trainer
from pipeline.settings import Settings
from tests.unit.model.test_trainer import assert_resumes, assert_trains_as_keras

FEATURES = ("x", "y", "z")


def random_split(count: int, seed: int = 0, padding: int = 0) -> Split:
    """Return sequences of 1 to 8 steps; the label is 1 if the sum of the first feature is positive."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 9, count)
    examples = random.normal(size=(count, 8, 3)).astype(np.float32) * [1, 10, 0.1] + [0, 5, 0]
    labels = np.array([example[:length, 0].sum() > 0 for example, length in zip(examples, lengths, strict=True)])
    examples[np.arange(8) >= lengths[:, np.newaxis]] = np.nan
    padded = np.pad(examples, ((0, 0), (0, padding), (0, 0)), constant_values=np.nan)
    return Split(examples=padded.astype(np.float32), labels=labels.astype(np.uint8))


def of_settings(**given: Any) -> Settings:
    return Settings.of({"hidden_units": 8, "learning_rate": 0.01, "batch_size": 10, "shards": 1} | given)


def trainer(count: int = 30, *, padding: int = 0, fast: bool | None = None, **given: Any) -> Trainer:
    train, validation = random_split(count, padding=padding), random_split(23, seed=9, padding=padding)
    kind = known.of(train.examples, FEATURES)
    return Trainer(of_settings(**given), train, validation, kind=kind, classes=2, fast=fast)


def order_of(count: int, **given: Any) -> NDArray[Any]:
    split = random_split(count)
    kind = known.of(split.examples, FEATURES)
    return np.asarray(kind.order(kind.lengths(split.examples), count, of_settings(**given), 1))


def lengths_of(split: Split) -> NDArray[Any]:
    return np.asarray((~np.isnan(split.examples[..., 0])).sum(axis=1))


@pytest.mark.parametrize(("cell", "direction"), [("lstm", "bidirectional"), ("mgu", "forward")])
def test_costs_equal_stock_keras_with_a_mask(cell: str, direction: str) -> None:
    """Keras's batches are padded to the longest sequence of all."""
    ours = trainer(17, cell=cell, direction=direction, shards=2)
    stock = trainer(17, cell=cell, direction=direction).model  # the same seed, so the same weights
    assert_trains_as_keras(ours, stock, random_split(17), random_split(23, seed=9), order_of(17))


ALL_CHANCE: dict[str, Any] = {"layers": 2, "dropout": 0.5, "jitter": 0.3}


@pytest.mark.parametrize("fast", [True, False])
def test_more_padding_changes_no_cost(fast: bool) -> None:
    plain, padded = (trainer(padding=padding, fast=fast, **ALL_CHANCE) for padding in (0, 13))
    for number in (1, 2):
        assert pytest.approx(plain.epoch(number).cost, rel=1e-6) == padded.epoch(number).cost
    assert pytest.approx(plain.validate(), rel=1e-6) == padded.validate()


def test_a_resumed_run_gives_the_same_bits() -> None:
    given: dict[str, Any] = {"epochs": 3, "schedule": "cosine", "clip_norm": 1.0, "ema": 0.9}
    assert_resumes(*(trainer(**given, **ALL_CHANCE) for _ in range(2)))


def test_batches_have_similar_lengths_random_order_and_every_example_once() -> None:
    order, lengths = order_of(997), lengths_of(random_split(997))
    assert list(range(997)) == sorted(order)
    batches = lengths[order[:990]].reshape(99, 10)
    assert np.ptp(batches, axis=1).mean() < 1.5  # of 7; random batches have 6
    assert np.abs(np.corrcoef(batches.max(axis=1), np.arange(99))[0, 1]) < 0.3
    assert (order != order_of(997, seed=2)).any()


@pytest.mark.parametrize(("cell", "direction"), [("gru", "bidirectional"), ("mgu", "forward")])
def test_both_saved_models_classify_a_batch_like_single_sequences(tmp_path: Path, cell: str, direction: str) -> None:
    settings, split = of_settings(cell=cell, direction=direction, dropout=0.3), random_split(12, seed=5, padding=4)
    kind: Kind = known.of(random_split(37).examples, FEATURES)
    model = network.build(settings, kind, classes=2)
    pairs = zip(split.examples, lengths_of(split), strict=True)
    alone = np.concatenate([model(example[np.newaxis, :length]) for example, length in pairs])

    network.save(model, settings, kind, tmp_path)
    stock = keras.saving.load_model(tmp_path / "model.keras", custom_objects={}, safe_mode=True)
    graph = tf.saved_model.load(tmp_path / "saved_model").signatures

    np.testing.assert_allclose(stock(split.examples), alone, atol=1e-5)
    np.testing.assert_allclose(graph["serving_default"](sequences=split.examples)["probabilities"], alone, atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.src") for layer in stock._flatten_layers())
    if direction == "forward":
        by_step = graph[network.BY_STEP](sequences=split.examples)[network.BY_STEP].numpy()
        assert split.examples.shape[:2] == by_step.shape[:2]
        np.testing.assert_allclose(by_step[range(12), lengths_of(split) - 1], alone, atol=1e-5)
