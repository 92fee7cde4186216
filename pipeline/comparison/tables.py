"""Groups to tables: of numbers, to be read by a program, and readable ones; and to the counts of their answers.

Shapes: N test images, C classes. Accuracies are fractions of 1, costs nats, times seconds.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.comparison.formatting import points
from pipeline.comparison.grouping import Group, best_by_validation
from pipeline.comparison.pairwise_tests import Interval, Verdict, sentence, verdicts
from pipeline.comparison.recommendation import advice
from pipeline.comparison.timing import has_processor_time
from pipeline.evaluation import metrics
from pipeline.tracking import schema


def runs_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per training; accuracies are fractions, costs nats, times seconds."""
    return pd.DataFrame(
        [
            {
                "group": group.label,
                "name": result.name,
                "seed": result.seed,
                "run_id": result.run_id,
                **{metric: result.metrics[metric] for metric in schema.OF_A_FINISHED_TRAINING},
                "epochs": len(result.history),
                "epoch_seconds": float(result.history["epoch_seconds"].median()),
                "cpu_seconds": result.metrics.get(schema.CPU_SECONDS),
                "cores": result.cores,
                "taken_over": result.taken_over,
            }
            for group in groups
            for result in group.results
        ]
    ).astype({"best_epoch": int, "parameters": int})


def summary_table(groups: Sequence[Group], of: Sequence[Verdict]) -> pd.DataFrame:
    """Return a row per group: means and standard deviations (of one seed: missing) over the seeds, in those units.

    ``of`` are the verdicts on them. ``recommended`` is the group to take: the one that is best by validation, or a
    cheaper one that is as good.
    """
    best, advised = best_by_validation(groups), advice(groups, of)
    spreads = [schema.TEST_ACCURACY, schema.TEST_COST, schema.BEST_VAL_ACCURACY, schema.TRAIN_SECONDS]
    spreads += [schema.CPU_SECONDS] if has_processor_time(groups) else []
    return pd.DataFrame(
        [
            {
                "group": group.label,
                "seeds": len(group.seeds),
                **{f"{name}_{part}": value for name in spreads for part, value in group.spread(name)._asdict().items()},
                "epoch_seconds_median": group.epoch_seconds,
                "parameters": group.parameters,
                "best_by_validation": group is best,
                "recommended": group is (advised.group if advised else best),
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

    Columns: epoch, mean, low, high. As far as all seeds went: after that it would be the mean of others.
    """
    rows = pd.concat([result.history[["epoch", column]] for result in group.results])
    table = rows.groupby("epoch")[column].agg(["mean", "min", "max", "size"]).reset_index()
    of_all = table[table["size"] == len(group.results)].drop(columns="size")
    return of_all.set_axis(["epoch", "mean", "low", "high"], axis=1)


# --- readable tables ------------------------------------------------------------------------------------------------

Form = Literal["markdown", "csv", "json", "latex"]
"""How a table is written."""


def readable_summary(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per group, as one reads it: means ± standard deviations over seeds."""
    return pd.DataFrame(
        [
            {
                "configuration": group.label,
                "seeds": str(len(group.seeds)),
                "validation accuracy (%)": group.spread(schema.BEST_VAL_ACCURACY).text(2, scale=100),
                "test accuracy (%)": group.spread(schema.TEST_ACCURACY).text(2, scale=100),
                "test cost (nats)": group.spread(schema.TEST_COST).text(4),
                "training (s)": group.seconds_text,
                "parameters": f"{group.parameters:,}",
            }
            for group in groups
        ]
    )


def readable_verdicts(of: Sequence[Verdict]) -> pd.DataFrame:
    """Return a row per pair, as one reads it: the difference in percentage points, and the verdict."""
    rows = [
        {
            "pair": f"{verdict.first} − {verdict.second}",
            "difference (points)": "" if verdict.difference is None else points(verdict.difference),
            "verdict": verdict.words,
        }
        for verdict in of
    ]
    return pd.DataFrame(rows, columns=["pair", "difference (points)", "verdict"])


def readable_runs(groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row per training, as one reads it."""
    return pd.DataFrame(
        [
            {
                "run": result.name,
                "seed": str(result.seed),
                "kept epoch": f"{result.metrics[schema.BEST_EPOCH]:.0f} of {len(result.history)}",
                "validation accuracy (%)": f"{100 * result.metrics[schema.BEST_VAL_ACCURACY]:.2f}",
                "test accuracy (%)": f"{100 * result.metrics[schema.TEST_ACCURACY]:.2f}",
                "test cost (nats)": f"{result.metrics[schema.TEST_COST]:.4f}",
                "training (s)": f"{result.metrics[schema.TRAIN_SECONDS]:,.1f}",
                "configuration": group.label,
                "run id": result.run_id,
            }
            for group in groups
            for result in group.results
        ]
    )


def as_text(table: pd.DataFrame, form: Form) -> str:
    """Return a table as text that ends in a line break."""
    if form == "csv":
        return table.to_csv(index=False)
    if form == "json":
        return table.to_json(orient="records", indent=2, force_ascii=False, double_precision=15) + "\n"
    if form == "latex":
        return table.to_latex(index=False, escape=True).replace("±", r"$\pm$").replace("−", "$-$")
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "".join(f"| {' | '.join(map(_in_cell, row))} |\n" for row in rows)


def _in_cell(text: str) -> str:
    """Return a text such that it stays in its cell of a Markdown table."""
    return " ".join(text.replace("|", r"\|").split())


def report_text(groups: Sequence[Group], form: Form) -> str:
    """Return a comparison as one text: what `pipeline report --format` prints.

    Markdown is the summary, which group to take, and the verdicts; CSV the summary in numbers, LaTeX the readable one;
    JSON all of it in numbers.
    """
    if form == "latex":
        return as_text(readable_summary(groups), form)
    found = verdicts(groups)
    if form == "csv":
        return as_text(summary_table(groups, found), form)
    advised = advice(groups, found)
    if form == "markdown":
        said = [*([advised.sentence] if advised else []), *map(sentence, found)]
        return "\n".join([as_text(readable_summary(groups), form), *(f"- {line}" for line in said), ""])
    parts = {"groups": summary_table(groups, found), "verdicts": verdicts_table(found), "runs": runs_table(groups)}
    records = {name: json.loads(as_text(table, form)) for name, table in parts.items()}
    return json.dumps({"advice": advised and advised.sentence, **records}, indent=2, ensure_ascii=False) + "\n"


# --- answers --------------------------------------------------------------------------------------------------------


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
