import pytest

from pipeline.comparison import formatting


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.012345, "0.0123"), (1, "1.00"), (12.34, "12.3"), (1_234.5, "1,234")]
)
def test_three_digits(value: float, text: str) -> None:
    assert text == formatting.three_digits(value)


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (33, 160, "a fifth of the time"),
        (50, 100, "half of the time"),
        (75, 100, "0.75 times the time"),
        (160, 120, "1.3 times the time"),
        (300, 2, "150 times the time"),
        (101, 100, "the same time"),
    ],
)
def test_a_ratio_is_put_in_words_where_a_word_is_near(ours: float, theirs: float, said: str) -> None:
    assert said == formatting.ratio_of(ours, theirs, "time")


def test_a_difference_is_written_in_points_with_its_sign() -> None:
    assert ["+0.12", "−0.30", "0.00"] == [formatting.points(fraction) for fraction in (0.0012, -0.003, -0.00001)]


@pytest.mark.parametrize(("count", "text"), [(0, "0 seeds"), (1, "1 seed"), (1_200, "1,200 seeds")])
def test_counts_are_in_the_plural_but_one(count: int, text: str) -> None:
    assert text == formatting.count_of(count, "seed")
