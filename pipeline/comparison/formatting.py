"""Numbers as they are written on the page and in the terminal."""

import math

_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth", 10: "a tenth"}
_NEAR = 0.06  # of a number: as near to another as a word may be


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


def ratio_of(ours: float, theirs: float, noun: str) -> str:
    """Return such as 'a fifth of the time', '1.3 times the time' and 'the same time', of positive numbers."""
    ratio = ours / theirs
    if abs(ratio - 1) < _NEAR:
        return f"the same {noun}"
    for parts, word in _PARTS.items():
        if abs(parts * ratio - 1) < _NEAR:
            return f"{word} of the {noun}"
    decimals = 2 if ratio < 1 else 1 if ratio < 10 else 0  # noqa: PLR2004
    return f"{ratio:,.{decimals}f} times the {noun}"
