"""Trainings made by hand, for what is computed and drawn from them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.comparison import pairwise_tests, tables
from pipeline.comparison.grouping import Group, Result, grouped

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])


def result(
    cell: str = "gru",
    seed: int = 1,
    *,
    wrong: Sequence[int] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    val_accuracy: float = 0.9,
    seconds: float = 20.0,
    cpu_seconds: float | None = None,
    parameters: int = 1_000,
    epochs: int = 2,
    finished: int = 0,
    taken_over: bool = False,
    labels: Sequence[int] | None = None,
) -> Result:
    """Return a training that takes the images at the positions ``wrong`` for the next of three classes."""
    truth = LABELS if labels is None else np.asarray(labels)
    predicted = truth.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 3
    return Result(
        run_id=f"{cell}{seed}{finished}",
        name=f"{cell}-s{seed}",
        cell=cell,
        seed=seed,
        params={"cell": cell, "seed": str(seed), "epochs": str(epochs), "data_dir": "data"} | dict(params or {}),
        metrics={
            "test_accuracy": float(np.mean(predicted == truth)),
            "test_cost": 0.5,
            "best_val_accuracy": val_accuracy,
            "best_epoch": epochs,
            "train_seconds": seconds,
            "parameters": parameters,
        }
        | ({"cpu_seconds": cpu_seconds} if cpu_seconds else {}),
        history=pd.DataFrame(
            {
                "epoch": range(1, epochs + 1),
                "cost": [seed / epoch for epoch in range(1, epochs + 1)],
                "val_accuracy": [val_accuracy - 0.1 / epoch for epoch in range(1, epochs + 1)],
                "epoch_seconds": [seconds / epochs] * epochs,
            }
        ),
        labels=truth,
        predicted=predicted,
        tags=tags or {},
        finished=finished,
        taken_over=taken_over,
    )


def three_groups() -> list[Group]:
    """Return rnn, lstm and gru with seeds 1 and 2; gru is the best by validation; image 3 is wrong in all."""
    return grouped(
        [
            result("rnn", 1, wrong=[0, 1, 3], val_accuracy=0.8),
            result("rnn", 2, wrong=[0, 2, 3], val_accuracy=0.8),
            result("lstm", 1, wrong=[3, 4], val_accuracy=0.9),
            result("lstm", 2, wrong=[3], val_accuracy=0.9),
            result("gru", 1, wrong=[3], val_accuracy=0.95, taken_over=True),
            result("gru", 2, wrong=[3], val_accuracy=0.93),
        ]
    )


def group(cell: str, *wrong: Sequence[int], first_seed: int = 1, labels: Sequence[int] | None = None) -> Group:
    """Return a group of one training per sequence of images that it gets wrong."""
    results = [result(cell, seed, wrong=each, labels=labels) for seed, each in enumerate(wrong, first_seed)]
    return grouped(results)[0]


def summary_of(groups: Sequence[Group]) -> pd.DataFrame:
    """Return the summary of groups in numbers, as a page has it."""
    return tables.summary_table(groups, pairwise_tests.verdicts(groups))
