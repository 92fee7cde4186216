import math

import pytest

from pipeline.tracking.promotion import judge
from pipeline.tracking.registry import Version


def version(number: int, accuracy: float, digest: str = "a" * 64) -> Version:
    return Version(name="m", number=number, run_id="r", accuracy=accuracy, digest=digest, promoted=True)


@pytest.mark.parametrize(
    ("candidate", "champion", "outcome"),
    [
        (version(1, 0.5), None, "promoted"),
        (version(2, 0.9802), version(1, 0.98), "promoted"),
        (version(2, 0.98), version(1, 0.98), "not promoted"),
        (version(2, 0.97), version(1, 0.98), "not promoted"),
        (version(1, 0.98), version(1, 0.98), "not promoted"),
        (version(2, 0.99, "b" * 64), version(1, 0.98), "refused"),
        (version(2, 0.97, "b" * 64), version(1, 0.98), "refused"),
        (version(2, 0.99), version(1, math.nan, ""), "refused"),  # a champion that somebody else has made
    ],
)
def test_the_better_one_on_the_same_data_is_promoted(
    candidate: Version, champion: Version | None, outcome: str
) -> None:
    assert outcome == judge(candidate, champion, force=False).outcome


@pytest.mark.parametrize("champion", [version(1, 0.99), version(1, 0.98), version(1, 0.5, "b" * 64)])
def test_force_promotes_what_is_not_better_or_from_other_data(champion: Version) -> None:
    decision = judge(version(2, 0.98), champion, force=True)

    assert "promoted" == decision.outcome
    assert decision.reason.startswith("forced: ")


def test_the_reason_names_both_accuracies_and_the_version() -> None:
    decision = judge(version(7, 0.987), version(3, 0.98), force=False)

    assert "validation accuracy 98.70% beats 98.00%, of version 3 on the same data" == decision.reason
