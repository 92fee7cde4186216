"""What a report says of a search's winner and of its parameters: much of a known function, nothing of noise."""

from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
import sklearn.model_selection

from pipeline.comparison import grouping
from pipeline.data.splits import DataSet
from pipeline.settings import Settings
from pipeline.training import identity
from pipeline.tuning import report, space
from pipeline.tuning.result import SearchResult
from pipeline.tuning.study import Reached, Trial
from tests.unit.result_fixtures import result


def search_result(ranges: space.Space, data: DataSet, chosen: dict[str, Any]) -> SearchResult:
    """Return the result of a search with one trial."""
    trial = Trial(number=1, parameters=chosen, state="complete", history=[Reached(1, 0.5, 0.9)])
    return SearchResult(space=ranges, data=data, trials=[trial], winner=trial)


@pytest.mark.parametrize(
    "elsewhere",
    [{}, {"data_dir": "/elsewhere"}, {"learning_rate": "1e-3"}, {"register": "digits-gru"}, {"recipe": "quick"}],
)
def test_the_start_is_known_however_its_trainings_were_typed_and_wherever_their_data_was(
    data: DataSet, elsewhere: dict[str, str]
) -> None:
    """Reused runs keep the params that they were logged with; groups are sorted by what differs."""
    start = Settings.of({"dataset": "digits", "learning_rate": 0.001})
    params = [
        {name: str(value) for name, value in identity.parameters(each, data).items()}
        for each in (start, replace(start, learning_rate=0.003))
    ]
    groups = [
        *grouping.grouped([result(seed=2, params=params[0] | {"seed": "2"} | elsewhere)]),
        *grouping.grouped([result(seed=2, params=params[1] | {"seed": "2"})]),
    ]

    ranges = space.of({"cell": "gru", "dataset": "digits"}, ["learning_rate=0.001,0.003"])
    found = search_result(ranges, data, {"cell": "gru", "learning_rate": 0.003})
    found.confirm(groups)

    assert found.confirmation is not None
    assert [("the best trial", 0.003), ("the start", 0.001)] == [
        (group.label, float(group.results[0].params["learning_rate"])) for group in found.confirmation
    ]


@pytest.mark.parametrize(("steps", "expected"), [(8, True), (16, False)])
def test_the_start_is_the_winner_also_where_it_is_written_otherwise(data: DataSet, steps: int, expected: bool) -> None:
    """The digits have 8 rows, which steps=0 stands for; so the start itself, which is in no range, is no trial."""
    ranges = space.of({"cell": "gru", "dataset": "digits"}, ["steps=8,16,32"])

    assert ranges.start("gru") is None
    assert expected == search_result(ranges, data, {"cell": "gru", "steps": steps}).is_start


def test_the_charts_of_a_search_leave_the_style_of_other_figures_alone(data: DataSet) -> None:
    ranges = space.of({"cell": "gru", "dataset": "digits"}, ["dropout=0..0.5"])
    before = dict(matplotlib.rcParams)
    drawn = report.files(search_result(ranges, data, {"cell": "gru", "dropout": 0.1}))

    assert {"search.html", "trials.csv", "progress.png", "curves.png", "parameters.png"} == drawn.keys()
    assert before == dict(matplotlib.rcParams)


SPACE = space.of({"cell": "gru"}, ["learning_rate=0.001..0.1", "dropout=0..0.5", "hidden_units=64,128"])


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


def test_what_the_accuracy_was_made_of_matters_as_much_as_it_explains(data: DataSet) -> None:
    share, parts = searched(data, 30, seed=1, weight=0.2).explained
    assert 0.6 < share <= 1
    assert "dropout" == next(iter(parts))
    assert parts["dropout"] > 0.9 * share
    np.testing.assert_allclose(sum(parts.values()), share)


def test_noise_explains_nothing(data: DataSet) -> None:
    """Optuna's importances alone gave parts of 64, 24 and 12 % for 20 trials of noise."""
    found = [searched(data, 20, seed=seed, weight=0.0).explained for seed in range(5)]
    assert [{}] * 5 == [dict(parts) for _, parts in found]


def test_of_a_few_trials_nothing_is_said(data: DataSet) -> None:
    assert (0.0, {}) == searched(data, 7, seed=1, weight=0.2).explained


def test_the_forest_is_fitted_once_for_the_tags_and_the_page(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was fitted again after the confirmation."""
    fitted: list[object] = []
    monkeypatch.setattr(
        sklearn.model_selection,
        "cross_val_predict",
        lambda *_, **__: fitted.append(0) or np.zeros(9),  # type: ignore[func-returns-value]
    )
    found = searched(data, 9, seed=1, weight=0.2)
    found.metrics()
    found.confirm(
        [
            *grouping.grouped([result(params={"dropout": "0"})]),
            *grouping.grouped([result(params={"dropout": "0.1"})]),
        ]
    )
    assert "Too few trials" in found.importance_text
    assert [0] == fitted


@pytest.mark.parametrize("name", report.WIDE)
def test_the_ticks_of_a_wide_logarithmic_range_do_not_overlap(data: DataSet, name: str) -> None:
    """Optuna's labels, such as 6 × 10⁻⁴, ran into one another."""
    ranges = ["learning_rate=1e-5..1e-1:log", "dropout=0..0.5", "hidden_units=64,128", "layers=1..3"]
    found = searched(data, 6, seed=1, weight=0.2)
    found.space = space.of({"cell": "gru"}, ranges)
    for trial, rate in zip(found.trials, (1e-5, 1e-4, 3e-4, 1e-3, 1e-2, 1e-1), strict=True):
        trial.parameters = {**trial.parameters, "learning_rate": rate, "layers": 1 + trial.number % 3}
    figure = report.chart(name, found)
    figure.canvas.draw()
    axes_of_rates = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if axis.get_scale() == "log"]
    assert axes_of_rates
    for axis in axes_of_rates:
        boxes = [each.get_window_extent() for each in axis.get_ticklabels() if each.get_text() and each.get_visible()]
        middles = np.array([[(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2] for box in boxes])
        assert np.linalg.norm(np.diff(middles, axis=0), axis=1).min() > 14  # pixels of a line of text
        assert not [label for label in axis.get_ticklabels() if "$" in label.get_text()]
