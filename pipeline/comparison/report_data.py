"""The data of a report: groups, tests, recommendation, conditions, and tables of them.

Accuracies are fractions of 1 in tables of numbers, and percent in readable ones; costs are nats, times seconds.
Shapes: N test examples, C classes.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from pipeline.comparison import pairwise_tests
from pipeline.comparison.grouping import Group, Result, configuration
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.tracking import schema

QUALITY = (schema.TEST_ACCURACY, *schema.CLASS_AVERAGES, schema.TEST_COST)
"""The metrics of the test examples."""

Form = Literal["markdown", "csv", "json"]
"""How a table is written."""

_PAIRS_LIMIT = 6  # maximum number of pairs that are all shown; four groups make six
_TEST_COLUMNS = "first second seeds difference low high confidence p_value result"
_READABLE = {
    "validation accuracy (%)": schema.BEST_VAL_ACCURACY,
    "test accuracy (%)": schema.TEST_ACCURACY,
    "macro F1 (%)": schema.TEST_MACRO_F1,
    "balanced accuracy (%)": schema.TEST_BALANCED_ACCURACY,
    "test cost (nats)": schema.TEST_COST,
    "training (s)": schema.TRAIN_SECONDS,
}

_TAGS = {
    "Data set": schema.DATASET,
    "Data digest": schema.DATASET_DIGEST,
    "Machine": schema.MACHINE,
    "Cores per run": schema.CORES,
    "Code commit": schema.COMMIT,
}
_NEAR_CHANCE = 0.1  # fraction of the way from guessing to perfect


class Recommendation(NamedTuple):
    """Whether to take the best configuration by validation, which is the first, and is also tagged and registered.

    Attributes:
        is_decided: whether it is significantly better than each of the others on the test examples.
        headline: 'Take gru' or 'Undecided: gru leads'.
        reason: the reason for the headline, in sentences.
    """

    is_decided: bool
    headline: str
    reason: str

    @property
    def sentence(self) -> str:
        """Headline and reason."""
        return f"{self.headline}. {self.reason}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """What a report shows.

    Args:
        groups: at least one, all tested on the same images, the recommended one first.
        png: returns a picture of a test example by its position; None if the pictures are not available.
        left_out: reasons by the names of runs that are not included.
    """

    groups: Sequence[Group]
    png: Callable[[int], bytes] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

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
        """All tests; if there are too many, only the tests of the recommended group."""
        return self.tests if len(self.tests) <= _PAIRS_LIMIT else self.tests[: len(self.groups) - 1]

    @cached_property
    def recommendation(self) -> Recommendation:
        """Whether to take the leader, which is the best configuration by validation."""
        leader, *others = self.groups
        chance = 1 / len(leader.results[0].class_names)  # the balanced accuracy of guessing
        if leader.mean(schema.TEST_BALANCED_ACCURACY) < chance + _NEAR_CHANCE * (1 - chance):
            reason = "Train longer, or check the parameters and the data."
            return Recommendation(False, "Undecided: test accuracies are near chance", reason)
        if not others:
            return Recommendation(False, leader.label, "There is nothing to compare it with.")
        tests = self.tests[: len(others)]
        undecided = [test for test in tests if not test.is_significant or test.difference < 0]
        gain = leader.mean(schema.BEST_VAL_ACCURACY) - others[0].mean(schema.BEST_VAL_ACCURACY)
        reason = (
            f"It leads {others[0].label} by {100 * gain:.2f} points of validation accuracy. "
            f"On the test data, {(undecided or tests)[0].sentence}"
        )
        return Recommendation(
            not undecided, f"Undecided: {leader.label} leads" if undecided else f"Take {leader.label}", reason
        )

    @cached_property
    def wrong_in_all(self) -> dict[int, list[tuple[int, int]]]:
        """By the position of each test example that every run gets wrong: the answers and how often each is given.

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
        rows = [
            {"group": group.label, "seeds": len(group.seeds)}
            | {
                f"{name}_{statistic}": value
                for name in (*QUALITY, schema.BEST_VAL_ACCURACY, schema.TRAIN_SECONDS, schema.CPU_SECONDS)
                if name in group.metrics
                for statistic, value in (("mean", group.mean(name)), ("sd", group.metrics[name].std()))
            }
            | {"epoch_seconds_median": group.epoch_seconds, "parameters": group.parameters}
            | {"recommended": group is self.groups[0]}
            for group in self.groups
        ]
        return pd.DataFrame(rows)

    def test_table(self) -> pd.DataFrame:
        """Return a row per pair.

        Columns: both groups, the number of seeds, the difference of test accuracies and the bounds of its confidence
        interval (fractions), the confidence, the adjusted p-value, and the result as a sentence.
        """
        rows = [
            [
                *(test.first, test.second, test.seeds, test.difference),
                *(test.interval or (None, None)),
                *(1 - test.level, test.p_value, test.sentence),
            ]
            for test in self.tests
        ]
        return pd.DataFrame(rows, columns=_TEST_COLUMNS.split())

    def readable(self) -> pd.DataFrame:
        """Return a row per group: means ± standard deviations over seeds."""
        rows = [
            {"configuration": group.label, "seeds": str(len(group.seeds))}
            | {title: group.text(metric) for title, metric in _READABLE.items()}
            | {"weights": f"{group.parameters:,}"}
            for group in self.groups
        ]
        return pd.DataFrame(rows)

    def text(self, form: Form) -> str:
        """Return the report as one text, which `pipeline report --format` prints.

        Markdown is the summary, the recommendation and the tests; CSV the summary in numbers; JSON all tables.
        """
        if form == "csv":
            return self.summary().to_csv(index=False)
        if form == "markdown":
            table = self.readable()
            rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
            cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
            sentences = [self.recommendation.sentence, *(test.sentence for test in self.tests)]
            lines = [*(f"| {' | '.join(row)} |" for row in cells), "", *(f"- {sentence}" for sentence in sentences)]
            return "\n".join(lines) + "\n"
        tables = {
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in self.numbers().items()
        }
        texts = {"recommendation": self.recommendation.sentence, **tables}
        return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


# --- the conditions of the runs ---------------------------------------------------------------------------------------


def conditions(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return the facts that the numbers depend on, as pairs of a term and its value, or its values if they differ."""
    runs = [(group.label, result) for group in groups for result in group.results]
    facts = [
        {"recipe": result.params.get("recipe", "")}
        | dict(configuration(result.params))
        | {term: result.tags.get(tag) for term, tag in _TAGS.items()}
        | {"packages": _packages(result)}
        for _, result in runs
    ]
    table = pd.DataFrame(facts, index=[label for label, _ in runs]).drop(columns="cell").fillna("not recorded")
    rows = [("Test examples", f"{len(runs[0][1].answers):,}")]
    for name in table:
        values = {value: dict.fromkeys(labels) for value, labels in table.groupby(str(name), sort=False).groups.items()}
        texts = [f"{value} ({', '.join(labels)})" for value, labels in values.items()]
        rows.append((str(name).replace("_", " ").capitalize(), "; ".join(texts) if len(values) > 1 else str(*values)))
    return rows


def _packages(result: Result) -> str:
    versions = {tag.removeprefix(schema.VERSION): text for tag, text in result.tags.items() if schema.VERSION in tag}
    return ", ".join(f"{name} {text}" for name, text in sorted(versions.items())) or "not recorded"
