"""The report on a search: the best trial and the start, the importance of parameters, and the charts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.comparison.grouping import grouped
from pipeline.data.splits import DataSet
from pipeline.settings import Settings
from pipeline.training import identity
from pipeline.tuning import report, space
from pipeline.tuning.report import Reached, SearchResult, Trial
from pipeline.tuning.space import Space
from tests.unit.result_fixtures import result

SPACE = space.of({"cell": "gru"}, ["learning_rate=1e-5..0.1:log", "dropout=0..0.5", "hidden_units=64,128"])


def search_result(ranges: Space, data: DataSet, chosen: dict[str, Any]) -> SearchResult:
    """Return the result of a search with one trial."""
    trial = Trial(number=1, parameters=chosen, state="complete", history=[Reached(1, 0.5, 0.9)])
    return SearchResult(space=ranges, data=data, trials=[trial], winner=trial)


def searched(data: DataSet, count: int, seed: int, weight: float) -> SearchResult:
    """Return a search whose accuracies depend on the dropout and on chance; two of three trials were stopped."""
    random = np.random.default_rng(seed)
    trials = []
    for number in range(1, count + 1):
        dropout = random.uniform(0, 0.5)
        chosen: dict[str, Any] = {"cell": "gru", "learning_rate": random.uniform(0.001, 0.1), "dropout": dropout}
        chosen["hidden_units"] = int(random.choice([64, 128]))
        accuracy = 0.9 - weight * dropout + random.normal(0, 0.005)
        epochs = 1 if number % 3 else 9
        history = [Reached(epoch, 0.5, accuracy - 0.02 / epoch) for epoch in range(1, epochs + 1)]
        trials.append(
            Trial(number=number, parameters=chosen, state="pruned" if number % 3 else "complete", history=history)
        )
    return SearchResult(space=SPACE, data=data, trials=trials, winner=trials[2])


@pytest.mark.parametrize(
    "elsewhere",
    [{}, {"data_dir": "/elsewhere"}, {"learning_rate": "1e-3"}, {"register": "digits-gru"}, {"recipe": "quick"}],
)
def test_the_start_is_found_for_any_spelling_and_data_folder(data: DataSet, elsewhere: dict[str, str]) -> None:
    """Reused runs keep the params that they were logged with."""
    start = Settings.of({"dataset": "digits", "learning_rate": 0.001})
    groups = []
    for settings, other in ((start, elsewhere), (replace(start, learning_rate=0.003), {})):
        params = {name: str(value) for name, value in identity.parameters(settings, data).items()}
        groups += grouped([result(seed=2, params=params | {"seed": "2"} | other)])
    ranges = space.of({"cell": "gru", "dataset": "digits"}, ["learning_rate=0.001,0.003"])
    found = search_result(ranges, data, {"cell": "gru", "learning_rate": 0.003})
    found.confirm(groups)

    assert found.confirmation is not None
    assert [("the best trial", 0.003), ("the start", 0.001)] == [
        (group.label, float(group.results[0].params["learning_rate"])) for group in found.confirmation
    ]
    assert "gru-t1 is the best on validation; too few new seeds to confirm it" == found.verdict[0]
    assert found.verdict[1].startswith("With 1 new seed, on the test data, which no trial has used: the best trial and")


@pytest.mark.parametrize(("steps", "headline"), [(8, "Nothing better than the start"), (16, "gru-t1 is the best on")])
def test_the_start_can_win_in_any_spelling(data: DataSet, steps: int, headline: str) -> None:
    """The digits have 8 rows, so steps=8 equals the start with steps=0, which is in no range and is no trial."""
    ranges = space.of({"cell": "gru", "dataset": "digits"}, ["steps=8,16,32"])

    assert ranges.start("gru") is None
    assert search_result(ranges, data, {"cell": "gru", "steps": steps}).verdict[0].startswith(headline)


def test_the_decisive_parameter_gets_its_importance(data: DataSet) -> None:
    shares = searched(data, 30, seed=1, weight=0.2).explained
    assert "dropout" == next(iter(shares))
    assert 0.6 < sum(shares.values()) <= 1
    assert shares["dropout"] > 0.9 * sum(shares.values())


def test_noise_and_a_few_trials_explain_nothing(data: DataSet) -> None:
    """Optuna's importances alone are 64, 24 and 12 % for 20 trials of noise."""
    assert [{}] * 5 == [searched(data, 20, seed=seed, weight=0.0).explained for seed in range(5)]
    few = searched(data, 7, seed=1, weight=0.2)
    assert {} == few.explained
    assert "too few trials" in few.importance_text


@pytest.mark.filterwarnings("error")
def test_the_files_are_a_page_a_table_and_a_chart(data: DataSet) -> None:
    drawn = report.files(searched(data, 6, seed=1, weight=0.2))

    assert {"search.html", "trials.csv", "trials.png"} == drawn.keys()
    assert b"6 trials: 2 complete, 4 stopped early. Early stopping saved" in drawn["search.html"]
    assert b"<script" not in drawn["search.html"]
