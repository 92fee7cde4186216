"""Numbers as they are written on the page and in the terminal."""

import math


def three_digits(value: float) -> str:
    """Return a number that is not negative with three significant digits: '0.0123', '1.00', '150'."""
    decimals = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:,.{max(decimals, 0)}f}"


def count_of(count: int, noun: str) -> str:
    """Return such as '1 seed' and '3 seeds'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points, with its sign: '+0.12', '−0.30', '0.00'."""
    text = f"{100 * fraction:+.2f}".replace("-", "−")
    return text if text.strip("+−") != "0.00" else "0.00"
