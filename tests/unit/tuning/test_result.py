"""What is said of a search's winner."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from pipeline.comparison import grouping
from pipeline.data import processed
from pipeline.data.splits import DataSet
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.stages.data import download, preprocess
from pipeline.training import fingerprints
from pipeline.tuning import report, space
from pipeline.tuning.result import SearchResult
from pipeline.tuning.trials import Reached, Trial
from tests.unit.result_fixtures import result


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    settings = Settings.of({"dataset": "digits", "data_dir": tmp_path})
    download(settings, Reporter())
    preprocess(settings, Reporter())
    return processed.find(settings)


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
    """Trainings of before are taken over with the params they were logged with; groups are sorted by what differs."""
    start = Settings.of({"dataset": "digits", "learning_rate": 0.001})
    params = [
        {name: str(value) for name, value in fingerprints.parameters(each, data).items()}
        for each in (start, replace(start, learning_rate=0.003))
    ]
    groups = [
        *grouping.grouped([result(seed=2, params=params[0] | {"seed": "2"} | elsewhere)]),
        *grouping.grouped([result(seed=2, params=params[1] | {"seed": "2"})]),
    ]

    ranges = space.of({"cell": "gru", "dataset": "digits"}, ["learning_rate=0.001,0.003"])
    confirmed = search_result(ranges, data, {"cell": "gru", "learning_rate": 0.003}).confirmed(groups).confirmation

    assert confirmed is not None
    assert [("the best trial", "0.003"), ("the start", start.learning_rate)] == [
        ("the best trial", confirmed[0].results[0].params["learning_rate"]),
        (confirmed[1].label, float(confirmed[1].results[0].params["learning_rate"])),
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
