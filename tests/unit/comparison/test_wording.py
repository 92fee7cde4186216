import pytest

from pipeline.comparison import wording


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.012345, "0.0123"), (1, "1.00"), (12.34, "12.3"), (1_234.5, "1,234")]
)
def test_three_digits(value: float, text: str) -> None:
    assert text == wording.three_digits(value)
