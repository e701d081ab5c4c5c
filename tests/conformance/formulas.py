"""The display formulas of PS3.3 C.11.2.1 in exact fractions, and 50 decimal digits for the sigmoid."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

HALF = Fraction(1, 2)


def rounded(level: Fraction) -> int:
    """Half up."""
    return int((level + HALF) // 1)


def linear(x: Fraction, c: Fraction, w: Fraction) -> int:
    """C.11.2.1.2.1."""
    low, high = c - HALF - (w - 1) / 2, c - HALF + (w - 1) / 2
    return _clipped(x, HALF if w == 1 else (x - (c - HALF)) / (w - 1) + HALF, low, high)


def linear_exact(x: Fraction, c: Fraction, w: Fraction) -> int:
    """C.11.2.1.3.2."""
    return _clipped(x, (x - c) / w + HALF, c - w / 2, c + w / 2)


def sigmoid(x: Fraction, c: Fraction, w: Fraction) -> int:
    """C.11.2.1.3.1."""
    with localcontext() as context:
        context.prec = 50
        exponent = min(-4 * (x - c) / w, Fraction(1000))  # far below the half of a level
        power = (Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()
        return int(Decimal(255) / (1 + power) + Decimal("0.5"))


def percentile(values: Sequence[Fraction], percent: int) -> Fraction:
    """Linear between the closest ranks, as statistics packages take it by default."""
    ordered = sorted(values)
    place = Fraction((len(ordered) - 1) * percent, 100)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _clipped(x: Fraction, y: Fraction, low: Fraction, high: Fraction) -> int:
    """PS3.3's three branches: at or below low, above high, else y."""
    if x <= low:
        return 0
    return 255 if x > high else rounded(y * 255)


FORMULAS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}
