"""Groups to tables, and to the counts of their answers.

Shapes: N test images, C classes. Accuracies are fractions of 1, costs nats, times seconds.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.comparison.grouping import Group, recommended
from pipeline.comparison.verdicts import Interval, Verdict
from pipeline.evaluation import metrics
from pipeline.tracking import runs


def runs_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per training; accuracies are fractions, costs nats, times seconds."""
    return pd.DataFrame(
        [
            {
                "group": group.label,
                "name": result.name,
                "seed": result.seed,
                "run_id": result.run_id,
                **{metric: result.metrics[metric] for metric in runs.OF_A_FINISHED_TRAINING},
                "epochs": len(result.history),
                "epoch_seconds": float(result.history["epoch_seconds"].median()),
                "cores": result.cores,
                "taken_over": result.taken_over,
            }
            for group in groups
            for result in group.results
        ]
    ).astype({"best_epoch": int, "parameters": int})


def summary_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per group: means and standard deviations (of one seed: missing) over the seeds, in those units."""
    best = recommended(groups)
    spreads = ("test_accuracy", "test_cost", "best_val_accuracy", "train_seconds")
    return pd.DataFrame(
        [
            {
                "group": group.label,
                "seeds": len(group.seeds),
                **{f"{name}_{part}": value for name in spreads for part, value in group.spread(name)._asdict().items()},
                "epoch_seconds_median": group.epoch_seconds,
                "parameters": group.parameters,
                "recommended": group is best,
            }
            for group in groups
        ]
    )


def verdicts_table(of: Sequence[Verdict]) -> pd.DataFrame:
    """Return a row per pair.

    Columns: both groups, the number of common seeds, the difference of test accuracies and the bounds of both
    intervals (fractions), their confidence and the p-value, both adjusted for the number of pairs, and the verdict.
    """
    bounds = ("seeds_low", "seeds_high", "images_low", "images_high")
    rows = [
        {
            "first": verdict.first,
            "second": verdict.second,
            "seeds": len(verdict.seeds),
            "difference": verdict.difference,
            **dict(zip(bounds, [*_bounds(verdict.over_seeds), *_bounds(verdict.over_images)], strict=True)),
            "confidence": 1 - verdict.level,
            "p_value": verdict.p_value,
            "verdict": verdict.words,
        }
        for verdict in of
    ]
    columns = ["first", "second", "seeds", "difference", *bounds, "confidence", "p_value", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def history_table(group: Group, column: str) -> pd.DataFrame:
    """Return mean, lowest and highest of a column of the histories: a row per epoch.

    Columns: epoch, mean, low, high. Each epoch is over the seeds that reached it.
    """
    rows = pd.concat([result.history[["epoch", column]] for result in group.results])
    table = rows.groupby("epoch")[column].agg(["mean", "min", "max"]).reset_index()
    return table.set_axis(["epoch", "mean", "low", "high"], axis=1)


def wrong_in_all(groups: Sequence[Group]) -> NDArray[np.intp]:
    """Return the positions of the test images that every training of every group gets wrong, ascending."""
    right = [result.right for group in groups for result in group.results]
    return np.flatnonzero(~np.any(right, axis=0))


def answers(groups: Sequence[Group], image: int) -> list[tuple[int, int]]:
    """Return what groups say of an image: (class, number of trainings that say it), the most said first."""
    said = Counter(int(result.predicted[image]) for group in groups for result in group.results)
    return sorted(said.items(), key=lambda answer: (-answer[1], answer[0]))


def confusion(group: Group, classes: int) -> NDArray[np.int64]:
    """Return (C, C) counts summed over the seeds: images of the row's class taken for the column's."""
    matrices = [metrics.confusion(result.labels, result.predicted, classes) for result in group.results]
    return np.asarray(np.sum(matrices, axis=0))


def largest_error_share(matrices: Iterable[NDArray[np.integer[Any]]]) -> float:
    """Return the largest share of a true class that is taken for one other class, in any of the matrices."""
    return max((_error_share(matrix) for matrix in matrices), default=0.0)


def _error_share(matrix: NDArray[np.integer[Any]]) -> float:
    return float(metrics.row_shares(matrix)[~np.eye(len(matrix), dtype=bool)].max(initial=0))
