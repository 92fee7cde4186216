"""What is proposed lies in its range and can be typed; the default ranges hold the start of each cell."""

import optuna
import pytest

from pipeline.tuning import space


def proposals(texts: list[str], count: int) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [dict(space.of({"cell": "gru"}, texts).propose(study.ask())) for _ in range(count)]


def test_what_is_proposed_is_in_its_range_and_can_be_typed() -> None:
    for chosen in proposals(["learning_rate=1e-4..1e-1:log", "hidden_units=64,128", "layers=1..3"], 30):
        rate = chosen["learning_rate"]
        assert isinstance(rate, float)
        assert 1e-4 <= rate <= 1e-1
        assert len(str(rate)) <= len("0.00012345")
        assert chosen["hidden_units"] in (64, 128)
        assert chosen["layers"] in (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("ema=0.999..0.9999", 0.999, 0.9999), ("dropout=0.49..0.5", 0.49, 0.5), ("weight_decay=1e-9..2e-9", 1e-9, 2e-9)],
)
def test_a_narrow_range_is_searched_between_its_ends(text: str, low: float, high: float) -> None:
    """Rounded to three significant digits, nothing but the ends of the first would be tried."""
    name = text.partition("=")[0]
    values = {float(str(each[name])) for each in proposals([text], 20)}
    assert len(values) > 15
    assert all(low <= value <= high for value in values)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mgu", "my_cells:MGU"])
def test_the_default_ranges_of_a_cell_hold_its_start(cell: str) -> None:
    assert space.of({"cell": cell}, []).start(cell) is not None
