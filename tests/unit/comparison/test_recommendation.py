import pytest

from pipeline.comparison import grouping, pairwise_tests
from pipeline.comparison.grouping import Group, Result
from pipeline.comparison.recommendation import Advice, advice
from tests.unit.result_fixtures import result

MANY = [0] * 1_000
QUIET = {"cores": "2", "machine": "a CPU, no GPU"}


def seeds(
    cell: str,
    *,
    wrong: int,
    by: int,
    val: float,
    val_by: float = 0.001,
    seconds: float = 100,
    parameters: int = 1_000,
    count: int = 3,
    first_seed: int = 1,
    tags: dict[str, str] = QUIET,
) -> list[Result]:
    """Return trainings that get ``wrong`` of 1,000 images wrong, less ``by``, as many, more ``by``, and so on."""
    steps = [number % 3 - 1 for number in range(count)]
    return [
        result(
            cell,
            seed,
            wrong=range(wrong + by * step),
            labels=MANY,
            val_accuracy=val + val_by * step,
            seconds=seconds,
            parameters=parameters,
            tags=tags,
        )
        for seed, step in enumerate(steps, first_seed)
    ]


def advised(*trainings: list[Result]) -> Advice:
    groups: list[Group] = grouping.grouped(each for group in trainings for each in group)
    found = advice(groups, pairwise_tests.verdicts(groups))
    assert found is not None
    return found


def test_one_group_needs_no_advice() -> None:
    groups = grouping.grouped(seeds("gru", wrong=10, by=1, val=0.99))
    assert advice(groups, []) is None


def test_a_lead_that_the_test_images_show_is_said_with_its_price() -> None:
    gru = seeds("gru", wrong=10, by=1, val=0.99, seconds=160, parameters=81_674)
    rnn = seeds("rnn", wrong=100, by=3, val=0.9, seconds=32, parameters=20_418)
    found = advised(gru, rnn)
    # Wrong are 9, 10, 11 and 97, 100, 103 of 1,000 images: 8.8, 9.0 and 9.2 points.
    assert found.sentence.startswith(
        "Take gru: 9.00 points ahead of rnn on validation; on the test images better by 9.00 ± "
    )
    assert found.sentence.endswith(
        " points; it takes 5.0 times the time (160 s against 32.0 s) "
        "and 4.0 times the parameters (81,674 against 20,418)."
    )


def test_a_cheaper_one_is_taken_where_it_is_as_good_as_could_be_shown() -> None:
    gru = seeds("gru", wrong=20, by=-10, val=0.981, val_by=-0.002, seconds=160, parameters=81_674)
    rnn = seeds("rnn", wrong=21, by=10, val=0.980, seconds=32, parameters=20_418)
    found = advised(gru, rnn)
    assert ("rnn", "gru") == (found.group.label, found.leader.label)
    assert found.reason.startswith("as good on the test images as could be shown (3 seeds could have shown ")
    assert found.reason.endswith(
        "); 0.10 points behind gru on validation; it takes a fifth of the time (32.0 s against 160 s) "
        "and a quarter of the parameters (20,418 against 81,674)"
    )


def test_a_cheaper_one_that_is_far_behind_on_validation_is_not_taken() -> None:
    gru = seeds("gru", wrong=20, by=-10, val=0.99, seconds=160)
    rnn = seeds("rnn", wrong=21, by=10, val=0.98, seconds=32)
    found = advised(gru, rnn)
    assert "gru" == found.group.label
    assert "1.00 points ahead of rnn on validation; on the test images no difference is shown (3 seeds" in found.reason


def test_a_little_cheaper_is_no_reason() -> None:
    gru = seeds("gru", wrong=20, by=-10, val=0.981, val_by=-0.002, seconds=100)
    rnn = seeds("rnn", wrong=21, by=10, val=0.980, seconds=90)
    assert "gru" == advised(gru, rnn).group.label


@pytest.mark.parametrize("count", [1, 2])
def test_few_seeds_leave_it_at_validation(count: int) -> None:
    rnn = seeds("rnn", wrong=135, by=1, val=0.865, count=count, seconds=10)
    gru = seeds("gru", wrong=470, by=1, val=0.53, count=count, seconds=50)
    assert (
        "Take rnn: 33.50 points ahead of gru on validation; on the test images not to be told apart with fewer than 3 "
        "seeds; it takes a fifth of the time (10.0 s against 50.0 s) and the same parameters (1,000 against 1,000)."
    ) == advised(rnn, gru).sentence


def test_without_common_seeds_the_test_images_say_nothing() -> None:
    rnn = seeds("rnn", wrong=100, by=1, val=0.9)
    gru = seeds("gru", wrong=10, by=1, val=0.99, first_seed=7)
    assert "; on the test images not to be compared without common seeds; " in advised(rnn, gru).reason


def test_a_leader_that_the_test_images_contradict_is_said_to_be() -> None:
    gru = seeds("gru", wrong=100, by=1, val=0.99)
    rnn = seeds("rnn", wrong=10, by=-1, val=0.98)
    assert "on the test images worse by 9.00 ± " in advised(gru, rnn).reason


def test_equals_are_level() -> None:
    assert advised(
        seeds("gru", wrong=10, by=5, val=0.98), seeds("rnn", wrong=11, by=-5, val=0.98, parameters=2_000)
    ).reason.startswith("level with rnn on validation; on the test images no difference is shown")


def test_seconds_that_do_not_compare_are_no_reason_and_not_said() -> None:
    gru = seeds("gru", wrong=20, by=-10, val=0.981, val_by=-0.002, seconds=160, parameters=2_000)
    rnn = seeds("rnn", wrong=21, by=10, val=0.980, seconds=32, tags={**QUIET, "cores": "1"})
    found = advised(gru, rnn)
    assert "gru" == found.group.label
    assert found.reason.endswith("; it takes 2.0 times the parameters (2,000 against 1,000)")
