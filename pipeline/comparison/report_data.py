"""The data of a report: groups, tests, recommendation, conditions, and tables of them.

Accuracies are fractions of 1 in tables of numbers, and percent in readable ones; costs are nats, times seconds.
Shapes: N test examples, C classes.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from pipeline.comparison import grouping, pairwise_tests
from pipeline.comparison.grouping import IGNORED_PARAMS, Group, Result, configuration
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.settings import Settings
from pipeline.tracking import schema

QUALITY = (schema.TEST_ACCURACY, *schema.CLASS_AVERAGES, schema.TEST_COST)
"""The metrics of the test examples."""

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

MAIN = ("recipe", "epochs", "hidden_units", "learning_rate", "batch_size")
"""The parameters that every page names; others where they are not the defaults, or differ."""

_TAGS = {
    "Data set": schema.DATASET,
    "Digest of the data": schema.DATASET_DIGEST,
    "Machine": schema.MACHINE,
    "Commit of the code": schema.COMMIT,
}
_NO_GPU = "no GPU"  # the end of the tag of a machine without one; with one, processors wait in the best of cases
_TOLERANCE = 1.25  # of wall time to processor time, beyond what the cores explain

_NEAR_CHANCE = 0.1  # of the way from guessing to perfect
_REMEDY = "Train longer, or check the parameters and the data."


class Timing(NamedTuple):
    """The times that a page compares: wall time on a quiet machine, processor time on a busy one.

    Attributes:
        metric: in seconds.
        noun: its name, such as 'processor time'.
        note: how they were measured.
    """

    metric: str
    noun: str
    note: str


class Recommendation(NamedTuple):
    """Which configuration to take.

    Attributes:
        group: the best by validation, which is also the one that is tagged and registered.
        is_decided: whether it is significantly better than each of the others on the test examples.
        headline: 'Take gru' or 'Undecided: gru leads'.
        reason: what that rests on, in sentences.
    """

    group: Group
    is_decided: bool
    headline: str
    reason: str

    @property
    def sentence(self) -> str:
        """Headline and reason."""
        return f"{self.headline}. {self.reason}".rstrip()


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
        return recommendation(self.groups, self.tests)

    @property
    def ordered(self) -> list[Group]:
        """The groups by validation, the recommended one first."""
        return sorted(self.groups, key=grouping.rank)

    @cached_property
    def timing(self) -> Timing:
        """Which times can be compared."""
        return timing(self.groups)

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
                for statistic, value in (("mean", group.metrics[name].mean()), ("sd", group.metrics[name].std()))
            }
            | {"epoch_seconds_median": group.epoch_seconds, "parameters": group.parameters}
            | {"recommended": group is self.recommendation.group}
            for group in self.groups
        ]
        return pd.DataFrame(rows)

    def test_table(self) -> pd.DataFrame:
        """Return a row per pair.

        Columns: both groups, the number of seeds, the difference of test accuracies and the bounds of its confidence
        interval (fractions), the confidence, the adjusted p-value, the seeds that halve the interval, and the result.
        """
        rows = [
            [
                *(test.first, test.second, test.seeds, test.difference),
                *(test.interval or (None, None)),
                *(1 - test.level, test.p_value, test.seeds_for_half, test.words),
            ]
            for test in self.tests
        ]
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


# --- the recommendation -----------------------------------------------------------------------------------------------


def recommendation(groups: Sequence[Group], tests: Sequence[PairwiseTest]) -> Recommendation:
    """Return the recommendation.

    Args:
        groups: at least one.
        tests: of every two of them, the better by validation first.
    """
    leader, *others = sorted(groups, key=grouping.rank)
    weak = [group.label for group in groups if is_near_chance(group)]
    if leader.label in weak:
        return Recommendation(leader, False, "Undecided: test accuracies are near chance", _REMEDY)
    if not others:
        return Recommendation(leader, False, leader.label, "There is nothing to compare it with.")
    tests = [test for test in tests if test.first == leader.label]
    undecided = [test for test in tests if not test.is_significant or test.difference < 0]
    gain = leader.metrics[schema.BEST_VAL_ACCURACY].mean() - others[0].metrics[schema.BEST_VAL_ACCURACY].mean()
    reasons = [
        f"It leads on validation accuracy by {100 * gain:.2f} points.",
        f"On the test data: {(undecided or tests)[0].sentence}",
    ]
    reasons += [f"Also undecided: {', '.join(test.second for test in undecided[1:])}."] if undecided[1:] else []
    reasons += [f"Near chance: {', '.join(weak)}. {_REMEDY}"] if weak else []
    headline = f"Undecided: {leader.label} leads" if undecided else f"Take {leader.label}"
    return Recommendation(leader, not undecided, headline, " ".join(reasons))


def is_near_chance(group: Group) -> bool:
    """Return whether a group is hardly better than guessing, by balanced accuracy: guessing reaches 1 / classes."""
    chance = 1 / len(group.results[0].class_names)
    return bool(group.metrics[schema.TEST_BALANCED_ACCURACY].mean() - chance < _NEAR_CHANCE * (1 - chance))


# --- what the numbers depend on ---------------------------------------------------------------------------------------


def conditions(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return what the numbers depend on, as pairs of a term and its value; several values where they differ."""
    params = {
        group.label: {"recipe": group.results[0].params.get("recipe", "")}
        | dict(configuration(group.results[0].params))
        for group in groups
    }
    table = pd.DataFrame.from_dict(params, orient="index").fillna("")
    defaults = dict(configuration({field.name: str(getattr(Settings(), field.name)) for field in fields(Settings)}))
    rows = []
    for name in [*MAIN, *sorted({*table} - {*MAIN, *IGNORED_PARAMS, "cell"})]:
        labels = table.groupby(name, sort=False).groups if name in table else {}
        if labels.keys() - {"", None if name in MAIN else defaults.get(name)}:
            texts = [
                f"{value} ({', '.join(of)})" if len(labels) > 1 else f"{value}" for value, of in labels.items() if value
            ]
            rows.append((name.replace("_", " ").capitalize(), "; ".join(texts)))
    results = [result for group in groups for result in group.results]
    packages = sorted({name for result in results for name in result.tags if name.startswith(schema.VERSION)})
    versions = [f"{tag.removeprefix(schema.VERSION)} {_tagged(results, tag)}" for tag in packages]
    return [
        *rows,
        *((term, _tagged(results, tag)) for term, tag in _TAGS.items()),
        ("Packages", ", ".join(versions) or "not recorded"),
        ("Test examples", f"{len(results[0].answers):,}"),
    ]


def _tagged(results: Sequence[Result], tag: str) -> str:
    return " and ".join(sorted({result.tags[tag] for result in results if tag in result.tags})) or "not recorded"


def timing(groups: Sequence[Group]) -> Timing:
    """Return which times of these groups can be compared."""
    results = [result for group in groups for result in group.results]
    machines = {result.tags.get(schema.MACHINE) for result in results}
    cores = {result.tags.get(schema.CORES, "an unknown number of") for result in results}
    is_busy = any(map(_has_waited, groups))
    if is_busy and len(machines) == 1 and all(schema.CPU_SECONDS in group.metrics for group in groups):
        note = "The machine was busy, so CPU time, summed over all threads, is compared instead of wall time."
        return Timing(schema.CPU_SECONDS, "processor time", note)
    if is_busy or len(machines) > 1 or len(cores) > 1:
        cause = "the machine was busy" if is_busy else "machines or numbers of cores differ"
        return Timing(schema.TRAIN_SECONDS, "time", f"Do not compare the times: {cause}.")
    return Timing(schema.TRAIN_SECONDS, "time", f"Measured with {cores.pop()} cores per run.")


def _has_waited(group: Group) -> bool:
    """Return whether the cores do not explain the wall time of a run: it waited for a processor.

    On a quiet machine the wall time of a run is at most its processor time. How much less it is depends on the
    configuration, so the seed that waited least is the measure of the others.
    """
    paces = [
        result.metrics[schema.TRAIN_SECONDS] / result.metrics[schema.CPU_SECONDS]
        for result in group.results
        if result.metrics.get(schema.CPU_SECONDS) and result.tags.get(schema.MACHINE, _NO_GPU).endswith(_NO_GPU)
    ]
    return any(pace > _TOLERANCE * min([1.0, *paces]) for pace in paces)
