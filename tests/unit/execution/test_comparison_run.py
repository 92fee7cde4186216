"""The metrics of the runs of groups."""

import pytest

from pipeline.comparison import grouping
from pipeline.execution import comparison_run
from tests.unit.result_fixtures import result


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        ((3, 2), {1: {"": 1.5, "_sd": 0.5**0.5, "_min": 1.0, "_max": 2.0}, 2: {"": 0.75}}),
        ((1,), {1: {"": 1.0, "_min": 1.0, "_max": 1.0}}),  # a single run has no standard deviation
    ],
)
def test_the_metrics_of_a_group_end_with_its_shortest_run(
    epochs: tuple[int, ...], expected: dict[int, dict[str, float]]
) -> None:
    """Early stopping ended the second run after two epochs. By hand: costs of 1 and 2, then of 1/2 and 1."""
    runs = [result(seed=seed, epochs=each, params={"epochs": ""}) for seed, each in enumerate(epochs, start=1)]
    for run in runs:
        run.history[["accuracy", "val_cost"]] = 0.5
    found = comparison_run.by_step(grouping.grouped(runs)[0])

    assert len(runs) == found.pop(0)["seeds"]
    assert expected.keys() == found.keys()
    costs = {name.removeprefix("cost"): value for name, value in found[1].items() if name.startswith("cost")}
    assert expected[1] == costs
    assert {epoch: each[""] for epoch, each in expected.items()} == {epoch: found[epoch]["cost"] for epoch in found}
