"""The metrics of the run of a group."""

from pipeline.comparison import grouping
from pipeline.execution import comparison_run
from tests.unit.result_fixtures import result


def test_the_metrics_of_a_group_go_as_far_as_all_of_its_runs() -> None:
    """Patience has ended the second run after its second epoch. By hand: costs of 1 and 2, then of 1/2 and 1."""
    runs = [result(seed=seed, epochs=epochs, params={"epochs": ""}) for seed, epochs in ((1, 3), (2, 2))]
    for run in runs:
        run.history[["accuracy", "val_cost"]] = 0.5
    found = comparison_run.by_epoch(grouping.grouped(runs)[0])
    assert {1: 1.5, 2: 0.75} == {epoch: metrics["cost"] for epoch, metrics in found.items()}
    assert (0.5**0.5, 1.0, 2.0) == tuple(found[1][f"cost_{part}"] for part in ("sd", "min", "max"))


def test_one_run_has_no_deviation() -> None:
    (one,) = grouping.grouped([result(epochs=1)])
    assert {"cost": 1.0, "cost_min": 1.0, "cost_max": 1.0} == comparison_run.spread(one.history("cost"), "cost").loc[
        1
    ].dropna().to_dict()
