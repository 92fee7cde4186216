"""What the numbers depend on, and which times can be compared; the times of the tests are round numbers."""

from collections.abc import Mapping, Sequence

import pytest

from pipeline.comparison import grouping, provenance
from pipeline.comparison.grouping import Group
from tests.unit.result_fixtures import result

QUIET: Mapping[str, str] = {"cores": "2", "machine": "a CPU, 2 cores, no GPU"}


def test_what_all_share_is_named_once_and_what_differs_for_each() -> None:
    params = {"hidden_units": "128", "recipe": "accurate", "layers": "1", "augmentation": "affine"}
    rates = (("rnn", "1e-3", "64"), ("lstm", "0.0025", "128"), ("gru", "0.0025", "128"))
    groups = grouping.grouped(
        result(cell, params=params | {"learning_rate": rate, "batch_size": size}, tags=QUIET)
        for cell, rate, size in rates
    )
    conditions = dict(provenance.conditions(groups))
    assert {
        "Epochs": "2",
        "Hidden units": "128",
        "Learning rate": "0.001 (rnn); 0.0025 (lstm, gru)",
        "Recipe": "accurate",
        "Augmentation": "affine",
        "Machine": "a CPU, 2 cores, no GPU",
        "Commit of the code": "not recorded",
    }.items() <= conditions.items()
    assert "Layers" not in conditions  # it is the default


def groups(*seconds: tuple[float, float | None], tags: Sequence[Mapping[str, str]] = (QUIET,)) -> list[Group]:
    """Return a group with a seed for each pair of wall time and processor time."""
    return grouping.grouped(
        result(seed=seed, seconds=wall, cpu_seconds=processor, tags=tags[seed % len(tags)])
        for seed, (wall, processor) in enumerate(seconds)
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([(60, 100), (58, 100), (65, 101)], ("train_seconds", "time", True, "Measured with 2 cores per run.")),
        ([(60, None)], ("train_seconds", "time", True, "Measured with 2 cores per run.")),
        ([(656, 260), (231, 230)], ("cpu_seconds", "processor time", True, "The machine was busy, so")),
        ([(60, 100), (90, 101)], ("cpu_seconds", "processor time", True, "The machine was busy, so")),
        (
            [(656, 260), (231, None)],
            ("train_seconds", "time", False, "Do not compare the times: the machine was busy."),
        ),
    ],
)
def test_on_a_busy_machine_processor_time_is_compared(
    seconds: list[tuple[float, float | None]], expected: tuple[str, str, bool, str]
) -> None:
    found = provenance.timing(groups(*seconds))
    assert expected[:3] == found[:3]
    assert found.note.startswith(expected[3])


def test_with_a_gpu_processors_may_wait() -> None:
    tags = {"cores": "2", "machine": "a CPU, 2 cores, a GPU"}
    assert "train_seconds" == provenance.timing(groups((100, 30), tags=[tags])).metric


@pytest.mark.parametrize("other", [{"cores": "1"}, {"machine": "another, 2 cores, no GPU"}])
def test_times_with_other_cores_or_machines_are_not_compared(other: dict[str, str]) -> None:
    found = provenance.timing(groups((60, 100), (60, 100), tags=[QUIET, {**QUIET, **other}]))
    assert not found.is_comparable
    assert "machines or numbers of cores differ" in found.note
