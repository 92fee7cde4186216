"""The estimate of the memory that a run needs at least."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.splits import DataSet, Split
from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.model import preflight
from pipeline.settings import Settings


def data(images: int = 10) -> DataSet:
    split = Split(examples=np.zeros((images, 8, 8), np.uint8), labels=np.zeros(images, np.uint8))
    return DataSet(
        name="d",
        digest="0" * 64,
        source="s",
        kind=Images(height=8, width=8),
        class_names=("0", "1"),
        train=split,
        validation=split,
        test=split,
        folder=Path(),
    )


def test_the_estimate_counts_weights_outputs_and_images() -> None:
    settings = Settings.of({"cell": "lstm", "hidden_units": 100, "layers": 2, "batch_size": 10})

    # By hand: 4 gates of 8 × 100 and 100 × 100, then 4 of 100 × 100 twice; 10 images × 8 steps × 2 layers × 100 × 5.
    weights, outputs, images = 4 * (800 + 10_000) + 4 * 20_000, 10 * 8 * 2 * 100 * 5, 2 * 640
    assert 4 * (5 * weights + outputs) + images == preflight.memory_needed(settings, data())


def test_a_network_that_does_not_fit_is_refused_with_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "free_memory", lambda: 4_000_000_000)
    settings = Settings.of({"hidden_units": 8_192, "layers": 8})  # by hand: 3.02e9 weights × 20, 0.27e9 outputs × 4
    preflight.check_memory(Settings(), data(60_000))
    with pytest.raises(UsageError, match=r"needs at least 61\.5 GB of memory; 4\.0 GB are free"):
        preflight.check_memory(settings, data())
