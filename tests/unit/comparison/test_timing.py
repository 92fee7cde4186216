"""Seconds that compare; those of the tests are round numbers: processor time is what the cores explain or not."""

from collections.abc import Mapping, Sequence

import pytest

from pipeline.comparison import grouping, timing
from pipeline.comparison.grouping import Group
from tests.unit.result_fixtures import result

QUIET: Mapping[str, str] = {"cores": "2", "machine": "a CPU, 2 cores, no GPU"}


def groups(*seconds: tuple[float, float | None], tags: Sequence[Mapping[str, str]] = (QUIET,)) -> list[Group]:
    """Return a group with a seed for each pair of wall time and processor time."""
    return grouping.grouped(
        result(seed=seed, seconds=wall, cpu_seconds=processor, tags=tags[seed % len(tags)])
        for seed, (wall, processor) in enumerate(seconds)
    )


@pytest.mark.parametrize(
    ("cores", "said"),
    [
        (["2", "2"], "Seconds were measured with 2 cores per training."),
        (["1", "1"], "Seconds were measured with 1 core per training."),
        (["", ""], "How many cores each training had was not recorded."),
        (["1", "2"], "differing numbers of cores per training, 1 (1 training), 2 (1 training): do not compare them."),
    ],
)
def test_it_says_with_how_many_cores_seconds_were_measured(cores: list[str], said: str) -> None:
    results = [result(seed=seed, tags={"cores": count} if count else {}) for seed, count in enumerate(cores)]
    assert timing.cores_sentence(results).endswith(said)


def test_on_a_quiet_machine_wall_time_is_compared() -> None:
    found = timing.timing(groups((60, 100), (58, 100), (65, 101)))
    assert ("train_seconds", "time", True) == found[:3]
    assert "Seconds were measured with 2 cores per training." == found.said


def test_where_processor_time_is_not_known_wall_time_is_compared() -> None:
    assert ("train_seconds", True) == (
        timing.timing(groups((60, None))).metric,
        timing.timing(groups((60, None))).comparable,
    )


@pytest.mark.parametrize("seconds", [[(656, 260), (231, 230)], [(656, 260), (640, 255)], [(60, 100), (90, 101)]])
def test_on_a_busy_machine_processor_time_is_compared(seconds: list[tuple[float, float]]) -> None:
    found = timing.timing(groups(*seconds))
    assert ("cpu_seconds", "processor time", True) == found[:3]
    assert found.said.startswith("The machine was busy: ")
    assert "So processor time is compared" in found.said


def test_it_says_which_training_waited_the_longest() -> None:
    said = timing.timing(groups((656, 260), (231, 230))).said
    assert "1 of 2 trainings waited for a processor, gru-s0 for example: 656.0 s of wall time, 260.0 s of" in said


def test_of_a_busy_machine_seconds_that_are_wall_time_do_not_compare() -> None:
    found = timing.timing(groups((656, 260), (231, None)))
    assert ("train_seconds", False) == (found.metric, found.comparable)
    assert found.said.endswith("Do not compare its seconds.")


def test_with_a_gpu_processors_may_wait() -> None:
    tags = {"cores": "2", "machine": "a CPU, 2 cores, a GPU"}
    assert "train_seconds" == timing.timing(groups((100, 30), tags=[tags])).metric


@pytest.mark.parametrize("other", [{"cores": "1"}, {"machine": "another, 2 cores, no GPU"}])
def test_seconds_of_other_cores_or_machines_do_not_compare(other: dict[str, str]) -> None:
    found = timing.timing(groups((60, 100), (60, 100), tags=[QUIET, {**QUIET, **other}]))
    assert not found.comparable
    assert "do not compare them" in found.said
