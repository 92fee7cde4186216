"""Ranges as a person writes them."""

import pytest

from pipeline.errors import UsageError
from pipeline.tuning import ranges
from pipeline.tuning.ranges import Choice, Numbers


def test_ranges_are_read_as_they_are_written() -> None:
    expected = {
        "learning_rate": Numbers(low=1e-4, high=1e-2, log=True),
        "hidden_units": Choice(values=(64, 128, 256)),
        "dropout": Numbers(low=0.0, high=0.5),
        "layers": Numbers(low=1, high=3),
        "initializer": Choice(values=("orthogonal", "identity")),
    }
    texts = ["learning_rate=1e-4..1e-2:log", "hidden-units=64,128,256", "dropout=0..0.5 layers=1..3"]
    assert expected == ranges.parse([*texts, "initializer=orthogonal, identity"])


@pytest.mark.parametrize("cell", ranges.DEFAULTS)
def test_what_is_searched_unless_told_reads(cell: str) -> None:
    assert len(ranges.parse([ranges.DEFAULTS[cell]])) >= 4


def test_whole_numbers_stay_whole() -> None:
    numbers = ranges.parse(["layers=1..3"])["layers"]
    assert isinstance(numbers, Numbers)
    assert numbers.is_whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate", "expected a parameter and its values"),
        ("lerning_rate=1..2", "Did you mean learning_rate?"),
        ("seed=1,2", "a seed that does well is luck"),
        ("epochs=1,2", "all trials have as many"),
        ("dataset=mnist,digits", "all trials share their data"),
        ("dropout=0.5..0.1", "that ascends"),
        ("dropout=0.1..0.1", "that ascends"),
        ("dropout=0.1..", "a lowest and a highest value"),
        ("dropout=", "at least two values"),
        ("dropout=0.1", "at least two values"),
        ("dropout=0.1,0.1", "each once"),
        ("dropout=0..0.5:log", "begins above 0"),
        ("dropout=0.1..0.5:lg", "expected :log or nothing"),
        ("dropout=0.1,0.5:log", "behind two numbers"),
        ("dropout=0..1.5", "dropout"),
        ("hidden_units=1.5..3", "hidden_units"),
        ("schedule=constant..cosine", "some of its values"),
        ("schedule=constant,steep", "schedule"),
        ("layers=1..2 layers=1..3", "layers twice"),
    ],
)
def test_what_is_no_range_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        ranges.parse([text])
