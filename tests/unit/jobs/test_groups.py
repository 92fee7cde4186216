from pipeline.jobs.groups import summary


def test_a_summary_is_mean_deviation_lowest_and_highest() -> None:
    """By hand: deviations of −1, 0 and 1 from the mean, squared and summed 2, over 3 − 1."""
    expected = {"cost": 2.0, "cost_sd": 1.0, "cost_min": 1.0, "cost_max": 3.0}
    assert expected == summary("cost", [1.0, 2.0, 3.0])


def test_one_value_has_no_deviation_and_none_has_nothing() -> None:
    assert {"cost": 2.0, "cost_min": 2.0, "cost_max": 2.0} == summary("cost", [2.0])
    assert {} == summary("cost", [])
