"""Ranges from a user's text; proposals are in the ranges and can be typed; default ranges contain each cell's start."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.cells import CELLS
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
    texts = ["learning_rate=1e-4..1e-2:log hidden-units=64,128,256", "dropout=0..0.5; layers=1..3"]
    assert expected == space.parse([*texts, "initializer=orthogonal, identity"], "gru")


@pytest.mark.parametrize("text", ["0.1234567..0.7654321", "0.0001..0.01:log", "1e-05..0.3", "64,128,256"])
def test_a_range_is_shown_with_every_digit(text: str) -> None:
    name = "hidden_units" if "," in text else "learning_rate"
    assert text == space.range_text(space.parse([f"{name}={text}"], "gru")[name])


FORM = "must be dropout=LOW..HIGH with LOW below HIGH, dropout=LOW..HIGH:log with LOW above 0, or dropout=VALUE,VALUE"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "must be learning_rate=LOW..HIGH with LOW below HIGH,"),
        ("lerning_rate=1..2", "Did you mean learning_rate?"),
        ("seed=1,2", "a good seed is luck"),
        ("dataset=mnist,digits", "all trials share their data"),
        ("dropout=0.5..0.1", f"{FORM} with at least two different values; got dropout=0.5..0.1."),
        ("dropout=0.1..0.1", FORM),
        ("dropout=0.1..", FORM),
        ("dropout=", FORM),
        ("dropout=0.1", "Give a single value as --dropout"),
        ("dropout=0.1,0.1", FORM),
        ("dropout=0..0.5:log", FORM),
        ("dropout=0.1..0.5:lg", "dropout: "),
        ("dropout=0.1,0.5:log", FORM),
        ("dropout=0..1.5", "dropout: "),
        ("hidden_units=1.5..3", "hidden_units: "),
        ("schedule=constant..cosine", "must be schedule=constant,"),
        ("schedule=constant,steep", "schedule: "),
        ("layers=1..2 layers=1..3", "layers twice"),
    ],
)
def test_a_wrong_range_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        space.parse([text], "gru")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("cell", "text", "others"),
    [("rnn", "activation=tanh,relu", "lstm,gru,mgu"), ("gru", "initializer=orthogonal,chrono", "rnn")],
)
def test_a_value_that_only_some_cells_can_have_is_searched_for_these(cell: str, text: str, others: str) -> None:
    assert {"cell", text.partition("=")[0]} == space.of({"cell": cell}, [text]).ranges.keys()
    for other in others.split(","):
        with pytest.raises(UsageError, match=f"for cell {other}"):
            space.of({"cell": other}, [text])


@pytest.mark.parametrize(
    ("text", "low", "high", "longest"),
    [
        ("learning_rate=1e-4..1e-1:log", 1e-4, 1e-1, "0.00012345"),
        ("ema=0.999..0.9999", 0.999, 0.9999, "0.999123"),
        ("dropout=0.49..0.5", 0.49, 0.5, "0.49123"),
        ("weight_decay=1e-9..2e-9", 1e-9, 2e-9, "1.234e-09"),
    ],
)
def test_proposed_numbers_are_in_range_can_be_typed_and_differ(
    text: str, low: float, high: float, longest: str
) -> None:
    """If numbers were rounded to three significant digits, only the ends of the second range would be tried."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    searched = space.of({"cell": "gru"}, [text])
    proposed = [searched.rounded(study.ask({**searched.ranges}).params) for _ in range(20)]
    values = {each[text.partition("=")[0]] for each in proposed}
    assert len(values) > 15
    assert all(low <= value <= high for value in values)
    assert max(len(str(value)) for value in values) <= len(longest)


@pytest.mark.parametrize("cells", [*CELLS, "my_cells:MGU", ",".join(CELLS)])
def test_the_default_ranges_hold_the_start_of_each_cell(cells: str) -> None:
    searched = space.of({"cell": cells}, [])
    assert cells.split(",") == [start["cell"] for start in map(searched.start, searched.cells) if start]
    assert ("clip_norm" in searched.ranges) == ("rnn" in cells)
