"""Results of runs, made by hand, for tests of tables, statistics and charts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from pipeline.comparison.grouping import Group, Result, grouped
from pipeline.evaluation import metrics

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
CLASSES = ("a", "b", "c")


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
    reused: bool = False,
    labels: Sequence[int] | None = None,
    classes: Sequence[str] = CLASSES,
) -> Result:
    """Return a run that classifies the images at the positions ``wrong`` as the next class."""
    truth = LABELS if labels is None else np.asarray(labels)
    predicted = truth.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 3
    macro_f1, balanced = metrics.class_averages(truth, predicted)
    return Result(
        run_id=f"{cell}{seed}{finished}",
        name=f"{cell}-s{seed}",
        params={"cell": cell, "seed": str(seed), "epochs": str(epochs), "data_dir": "data"} | dict(params or {}),
        metrics={
            "test_accuracy": float(np.mean(predicted == truth)),
            "test_macro_f1": macro_f1,
            "test_balanced_accuracy": balanced,
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
        answers=pd.DataFrame({"label": truth, "predicted": predicted} | {f"p_{name}": 0.0 for name in classes}),
        tags=tags or {},
        reused=reused,
        experiment_id="0",
        status="FINISHED",
        started=0,
        ended=finished,
        is_deleted=False,
    )


def three_groups() -> list[Group]:
    """Return rnn, lstm and gru with seeds 1 and 2; gru is best on validation, and all misclassify image 3."""
    return grouped(
        [
            result("rnn", 1, wrong=[0, 1, 3], val_accuracy=0.8),
            result("rnn", 2, wrong=[0, 2, 3], val_accuracy=0.8),
            result("lstm", 1, wrong=[3, 4], val_accuracy=0.9),
            result("lstm", 2, wrong=[3], val_accuracy=0.9),
            result("gru", 1, wrong=[3], val_accuracy=0.95, reused=True),
            result("gru", 2, wrong=[3], val_accuracy=0.93),
        ]
    )


def group(cell: str, *wrong: Sequence[int], first_seed: int = 1, images: int = 1_000, val: float = 0.9) -> Group:
    """Return a group with one run for each sequence of misclassified images."""
    labels = [number % 3 for number in range(images)]
    seeds = enumerate(wrong, first_seed)
    return grouped(result(cell, seed, wrong=each, labels=labels, val_accuracy=val) for seed, each in seeds)[0]


@cache
def _of_labels(images: int) -> Result:
    return result(labels=[number % 3 for number in range(images)])


def random_group(
    random: np.random.Generator, seeds: Sequence[int], *, images: int = 1_000, accuracy: float = 0.9
) -> Group:
    """Return a group whose predictions are random, with an accuracy that differs by seed; its metrics do not match."""
    labels = np.arange(images) % 3
    one, runs = _of_labels(images), []
    for seed in seeds:
        right = random.random(images) < accuracy + 0.01 * random.standard_normal()
        answers = pd.DataFrame({"label": labels, "predicted": np.where(right, labels, labels + 1)})
        runs.append(replace(one, params=dict(one.params) | {"seed": str(seed)}, answers=answers))
    return Group(label="gru", results=tuple(runs))
