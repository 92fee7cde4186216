"""What a report shows: groups, their tests, the recommendation, and tables of them.

Accuracies are fractions of 1 in tables of numbers, and percent in readable ones; costs are nats, times seconds.
Shapes: N test examples, C classes.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.comparison import grouping, pairwise_tests, provenance, recommendation
from pipeline.comparison.grouping import Group, Result
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.comparison.provenance import Timing
from pipeline.comparison.recommendation import Recommendation
from pipeline.tracking import schema

QUALITY = (schema.TEST_ACCURACY, *schema.CLASS_AVERAGES, schema.TEST_COST)
"""The metrics of the test images."""

Form = Literal["markdown", "csv", "json", "latex"]
"""How a table is written."""

_PAIRS_LIMIT = 6  # up to which all pairs are shown; four groups make six
_TEST_COLUMNS = "first second seeds difference low high confidence p_value seeds_for_half result"
_READABLE = {
    "validation accuracy (%)": schema.BEST_VAL_ACCURACY,
    "test accuracy (%)": schema.TEST_ACCURACY,
    "macro F1 (%)": schema.TEST_MACRO_F1,
    "balanced accuracy (%)": schema.TEST_BALANCED_ACCURACY,
    "test cost (nats)": schema.TEST_COST,
    "training (s)": schema.TRAIN_SECONDS,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """What a report shows.

    Args:
        groups: at least one, all tested on the same images.
        png: returns a picture of a test example by its position; None where they are not available.
        failures: reasons by the names of runs that failed.
    """

    groups: Sequence[Group]
    png: Callable[[int], bytes] | None = None
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def results(self) -> list[Result]:
        """The runs of all groups."""
        return [result for group in self.groups for result in group.results]

    @property
    def has_curves(self) -> bool:
        """Whether a run has more than one epoch."""
        return any(len(result.history) > 1 for result in self.results)

    @cached_property
    def tests(self) -> list[PairwiseTest]:
        """The tests of every two groups."""
        return pairwise_tests.pairwise_tests(self.groups)

    @property
    def main_tests(self) -> list[PairwiseTest]:
        """All tests, or where these are too many to look at, those of the recommended group."""
        return [test for test in self.tests if len(self.tests) <= _PAIRS_LIMIT or test.first == self.tests[0].first]

    @cached_property
    def recommendation(self) -> Recommendation:
        """The configuration to take."""
        return recommendation.recommendation(self.groups, self.tests)

    @property
    def ordered(self) -> list[Group]:
        """The groups by validation, the recommended one first."""
        return sorted(self.groups, key=grouping.rank)

    @cached_property
    def timing(self) -> Timing:
        """Which times can be compared."""
        return provenance.timing(self.groups)

    @cached_property
    def wrong_in_all(self) -> dict[int, list[tuple[int, int]]]:
        """By the position of each test image that every run gets wrong: the answers and how often each is given.

        Images and answers with the most agreement come first.
        """
        predicted = np.array([result.answers["predicted"] for result in self.results])
        wrong = np.flatnonzero(np.all(predicted != self.results[0].answers["label"].to_numpy(), axis=0))
        answers = {int(image): Counter(sorted(predicted[:, image].tolist())).most_common() for image in wrong}
        return dict(sorted(answers.items(), key=lambda item: -item[1][0][1]))

    def numbers(self) -> dict[str, pd.DataFrame]:
        """Return the tables in numbers, by the name of their file."""
        return {"runs": self.runs(), "summary": self.summary(), "pairwise_tests": self.test_table()}

    def runs(self) -> pd.DataFrame:
        """Return a row per run."""
        rows = [
            {
                "group": group.label,
                "name": result.name,
                "seed": result.seed,
                "run_id": result.run_id,
                **{name: result.metrics[name] for name in dict.fromkeys((*QUALITY, *schema.OF_A_FINISHED_TRAINING))},
                "epochs": len(result.history),
                "epoch_seconds": float(result.history["epoch_seconds"].median()),
                "cpu_seconds": result.metrics.get(schema.CPU_SECONDS),
                "cores": result.tags.get(schema.CORES, ""),
                "reused": result.reused,
            }
            for group in self.groups
            for result in group.results
        ]
        return pd.DataFrame(rows).astype({"best_epoch": int, "parameters": int})

    def summary(self) -> pd.DataFrame:
        """Return a row per group: means and standard deviations (missing for one seed) over the seeds."""
        rows = []
        for group in self.groups:
            row = {"group": group.label, "seeds": len(group.seeds)}
            for name in [*QUALITY, schema.BEST_VAL_ACCURACY, schema.TRAIN_SECONDS, schema.CPU_SECONDS]:
                if name in group.metrics:
                    row |= {f"{name}_mean": group.metrics[name].mean(), f"{name}_sd": group.metrics[name].std()}
            row |= {"epoch_seconds_median": group.epoch_seconds, "parameters": group.parameters}
            rows.append(row | {"recommended": group is self.recommendation.group})
        return pd.DataFrame(rows)

    def test_table(self) -> pd.DataFrame:
        """Return a row per pair.

        Columns: both groups, the number of seeds, the difference of test accuracies and the bounds of its confidence
        interval (fractions), the confidence, the adjusted p-value, the seeds that halve the interval, and the result.
        """
        rows = []
        for test in self.tests:
            low, high = test.interval or (None, None)
            row = [test.first, test.second, test.seeds, test.difference, low, high, 1 - test.level]
            rows.append([*row, test.p_value, test.seeds_for_half, test.words])
        return pd.DataFrame(rows, columns=_TEST_COLUMNS.split()).astype({"seeds_for_half": "Int64"})

    def readable(self) -> pd.DataFrame:
        """Return a row per group, the recommended one first: means ± standard deviations over seeds."""
        rows = [
            {"configuration": group.label, "seeds": str(len(group.seeds))}
            | {title: group.text(metric) for title, metric in _READABLE.items()}
            | {"parameters": f"{group.parameters:,}"}
            for group in self.ordered
        ]
        return pd.DataFrame(rows)

    def text(self, form: Form) -> str:
        """Return the report as one text, which `pipeline report --format` prints.

        Markdown is the summary, the recommendation and the tests; CSV the summary in numbers, LaTeX the readable one;
        JSON all of it in numbers.
        """
        if form == "latex":
            return as_text(self.readable(), form)
        if form == "csv":
            return as_text(self.summary(), form)
        if form == "markdown":
            sentences = [self.recommendation.sentence, *(test.sentence for test in self.tests)]
            return "\n".join([as_text(self.readable(), form), *(f"- {sentence}" for sentence in sentences), ""])
        records = {name: json.loads(as_text(table, form)) for name, table in self.numbers().items()}
        texts = {"recommendation": self.recommendation.sentence} | records
        return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


def as_text(table: pd.DataFrame, form: Form) -> str:
    """Return a table as text that ends in a line break."""
    if form == "csv":
        return table.to_csv(index=False)
    if form == "json":
        return table.to_json(orient="records", indent=2, force_ascii=False, double_precision=15) + "\n"
    if form == "latex":
        return table.to_latex(index=False, escape=True).replace("±", r"$\pm$").replace("−", "$-$")
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)
