"""Ranges as a person writes them."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.errors import UsageError
from pipeline.tuning import space


def test_ranges_are_read_as_they_are_written() -> None:
    expected = {
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "hidden_units": CategoricalDistribution((64, 128, 256)),
        "dropout": FloatDistribution(0.0, 0.5),
        "layers": IntDistribution(1, 3),
        "initializer": CategoricalDistribution(("orthogonal", "identity")),
    }
    texts = ["learning_rate=1e-4..1e-2:log", "hidden-units=64,128,256", "dropout=0..0.5 layers=1..3"]
    assert expected == space.parse([*texts, "initializer=orthogonal, identity"])


@pytest.mark.parametrize("cell", space.DEFAULTS)
def test_what_is_searched_unless_told_reads(cell: str) -> None:
    assert len(space.parse([space.DEFAULTS[cell]])) >= 4


@pytest.mark.parametrize("text", ["0.1234567..0.7654321", "0.0001..0.01:log", "1e-05..0.3", "64,128,256"])
def test_a_range_is_shown_with_every_digit(text: str) -> None:
    name = "hidden_units" if "," in text else "learning_rate"
    assert text == space.range_text(space.parse([f"{name}={text}"])[name])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate", "expected a parameter and its values"),
        ("lerning_rate=1..2", "Did you mean learning_rate?"),
        ("seed=1,2", "a good seed is luck"),
        ("epochs=1,2", "all trials have the same number"),
        ("dataset=mnist,digits", "all trials share their data"),
        ("dropout=0.5..0.1", "that ascends"),
        ("dropout=0.1..0.1", "that ascends"),
        ("dropout=0.1..", "a lowest and a highest value"),
        ("dropout=", "at least two values"),
        ("dropout=0.1", "at least two values"),
        ("dropout=0.1,0.1", "each once"),
        ("dropout=0..0.5:log", "begins above 0"),
        ("dropout=0.1..0.5:lg", "expected :log or nothing"),
        ("dropout=0.1,0.5:log", "after two numbers"),
        ("dropout=0..1.5", "dropout"),
        ("hidden_units=1.5..3", "hidden_units"),
        ("schedule=constant..cosine", "some of its values"),
        ("schedule=constant,steep", "schedule"),
        ("layers=1..2 layers=1..3", "layers twice"),
    ],
)
def test_what_is_no_range_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        space.parse([text])
