"""The runs of a comparison's groups: what stands in them for their trainings."""

from pathlib import Path

import pytest

from pipeline.execution import groups
from pipeline.execution.groups import summary
from pipeline.tracking import store
from tests.runs import new_run


def test_a_summary_is_mean_deviation_lowest_and_highest() -> None:
    """By hand: deviations of −1, 0 and 1 from the mean, squared and summed 2, over 3 − 1."""
    expected = {"cost": 2.0, "cost_sd": 1.0, "cost_min": 1.0, "cost_max": 3.0}
    assert expected == summary("cost", [1.0, 2.0, 3.0])


def test_one_value_has_no_deviation_and_none_has_nothing() -> None:
    assert {"cost": 2.0, "cost_min": 2.0, "cost_max": 2.0} == summary("cost", [2.0])
    assert {} == summary("cost", [])


def test_the_means_of_a_group_go_as_far_as_all_of_its_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience has ended the second one after its second epoch."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    longer, shorter = new_run("gru-s1"), new_run("gru-s2")
    store.log_history(longer, {1: {"cost": 3.0}, 2: {"cost": 2.0}, 3: {"cost": 1.0}})
    store.log_history(shorter, {1: {"cost": 5.0}, 2: {"cost": 4.0}})

    means = groups._means([longer, shorter])

    assert {1: 4.0, 2: 3.0} == {step: metrics["cost"] for step, metrics in means.items()}
