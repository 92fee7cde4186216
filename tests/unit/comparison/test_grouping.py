import pytest

from pipeline.comparison.grouping import Result, grouped
from tests.unit.result_fixtures import result


@pytest.mark.parametrize(
    "other",
    [
        {"data_dir": "/elsewhere", "source": "/mnist", "dataset": "mnist"},
        {"register": "mnist-gru", "config": "mine.yaml", "new": "true", "quiet": "true"},
        {"recipe": "accurate"},
        {"learning_rate": "1e-3"},
        {"learning_rate": "0.0010"},
    ],
    ids=["place and name of the data", "options of commands", "name of a recipe", "1e-3", "0.0010"],
)
def test_runs_that_differ_by_the_seed_alone_are_one_group_ordered_by_it(other: dict[str, str]) -> None:
    shared = {"learning_rate": "0.001", "recipe": "tutorial"}
    groups = grouped(
        [result(seed=10, params=shared), result(seed=2, params=shared | other), result(seed=1, params=shared)]
    )
    assert [("gru", (1, 2, 10))] == [(group.label, group.seeds) for group in groups]


def test_groups_are_ranked_by_validation_then_size_and_never_by_test_accuracy() -> None:
    runs = [
        result("gru", parameters=20),
        result("rnn", wrong=[0, 1, 2], parameters=10),
        result("lstm", wrong=[0], val_accuracy=0.95),
    ]
    assert ["lstm", "rnn", "gru"] == [group.label for group in grouped(runs)]


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        # Digests that look like numbers, which would both be infinite.
        (
            [result("my_cells:MGU", params={"cell_file": f"sha256:{digest}"}) for digest in ("1e999999", "2e888888")],
            {"my_cells:MGU, cell_file sha256:1e999999", "my_cells:MGU, cell_file sha256:2e888888"},
        ),
        (
            [result(params={"hidden_units": units, "layers": "1"}) for units in ("128", "64")],
            {"gru, hidden_units 64", "gru, hidden_units 128"},
        ),
        ([result("rnn", params={"ema": "0.1"}), result("gru", params={"ema": "0.4"})], {"rnn", "gru"}),
        (
            [result(params={"recipe": name, "ema": ema}) for name, ema in (("tutorial", "0"), ("accurate", "0.4"))],
            {"gru, recipe tutorial", "gru, recipe accurate"},
        ),
    ],
    ids=["file of a custom cell", "parameter", "only between cells", "recipe"],
)
def test_a_label_names_the_parameters_that_differ_within_a_cell(runs: list[Result], labels: set[str]) -> None:
    assert labels == {group.label for group in grouped(runs)}


def test_means_are_written_with_sample_standard_deviations() -> None:
    (two,) = grouped([result(seed=seed, wrong=range(seed), seconds=seed) for seed in (1, 2)])
    # By hand: accuracies of 90 and 80 %, √(2 × 5² / 1) = 7.07; 1 and 2 s.
    assert ("85.00 ± 7.07", "1.50 ± 0.71", "0.5000 ± 0.0000") == tuple(
        map(two.text, ("test_accuracy", "train_seconds", "test_cost"))
    )
    (one,) = grouped([result(seconds=120)])
    assert ("100.00", "120.0") == (one.text("test_accuracy"), one.text("train_seconds"))


def test_seconds_per_epoch_are_the_median_over_all_epochs_of_all_seeds() -> None:
    (only,) = grouped([result(seed=1, seconds=4, epochs=2), result(seed=2, seconds=20, epochs=2)])
    assert 6 == only.epoch_seconds  # epochs of 2, 2, 10 and 10 seconds
