"""Bounded arithmetic: exact where possible. Raises UnreadableError where a result would take long to compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

Number = Fraction | float
_MAX_BITS = 20_000  # of a power: an answer in MathVision has 3^1009; 9^9^9 would never finish
_MAX_FACTORIAL = 200

TRIGONOMETRY: dict[str, Callable[[float], float]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "cot": lambda x: 1 / math.tan(x),
    "sec": lambda x: 1 / math.cos(x),
    "csc": lambda x: 1 / math.sin(x),
}
FUNCTIONS: dict[str, Callable[[float], float]] = TRIGONOMETRY | {
    "log": math.log10,
    "ln": math.log,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "exp": math.exp,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "floor": math.floor,
    "ceil": math.ceil,
}
INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}


class UnreadableError(ValueError):
    """The text is not an expression that we know, or it is too large."""


def variable(name: str, point: int) -> float:
    """The number substituted for a variable: below 1, above 1 and above 4 at points 0, 1 and 2."""
    code = sum((i + 1) * ord(character) for i, character in enumerate(name))
    fraction = (code * (math.sqrt(5) - 1) / 2 + point * math.sqrt(2)) % 1
    return (0.1 + 0.8 * fraction, 1.1 + 2 * fraction, 4.2 + 5 * fraction)[point]


def factorial(number: Number) -> Fraction:
    return Fraction(math.factorial(_small_whole(number)))


def binomial(n: Number, k: Number) -> Fraction:
    return Fraction(math.comb(_small_whole(n), _small_whole(k)))


def _small_whole(number: Number) -> int:
    if not isinstance(number, Fraction) or number.denominator != 1 or not 0 <= number <= _MAX_FACTORIAL:
        raise UnreadableError
    return int(number)


def power(base: Number, exponent: Number) -> Number:
    """Exact where both are rational and so is the result. Never a huge or a complex number."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) > _MAX_BITS:
            raise UnreadableError
        if exponent.denominator == 1:
            return base ** int(exponent)
        if exponent == Fraction(1, 2) and base >= 0:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            return root if root * root == base else math.sqrt(base)
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise UnreadableError
    return result


def logarithm(base: Number, number: Number) -> float:
    return math.log(number) / math.log(base)
