"""The value of an answer in plain notation."""

from __future__ import annotations

import dataclasses
import math

from extract.grading.maths.arithmetic import Number, UnreadableError
from extract.grading.maths.parser import DIGITS, Parser, tokenised

_POINTS = 3  # how many sets of values an expression with variables is evaluated at


@dataclasses.dataclass(frozen=True)
class Value:
    """The value of an answer.

    Attributes:
      parts: one number, or the numbers of a tuple, a list, a matrix or a union of intervals.
      decimals: digits after the point of a number written as a decimal, else 0.
      percent: written with a percent sign; the parts are not divided by 100.
      unordered: the parts may come in any order ("5 and 8").
      shape: how the parts belong together where it matters: half-open intervals, unions, relations; else "".
      elsewhere: the parts of an expression with variables at other values of them; empty without variables.
    """

    parts: tuple[Number, ...]
    decimals: int = 0
    percent: bool = False
    unordered: bool = False
    shape: str = ""
    elsewhere: tuple[tuple[Number, ...], ...] = ()

    @property
    def symbolic(self) -> bool:
        """Whether it contains variables."""
        return bool(self.elsewhere)


def parse(text: str, letters: bool) -> Value:
    """Evaluate an expression or a list of expressions; with `letters`, letters are variables.

    Raises UnreadableError. An expression with variables is evaluated at several points, where each variable has its own
    value. Expressions that agree at all points count as equal.
    """
    tokens = tokenised(text)
    parser = _computed(tokens, letters, 0)
    points = range(1, _POINTS) if parser.symbolic else ()
    places = [len(token.partition("e")[0].partition(".")[2]) for token in tokens if token[0] in DIGITS]
    return Value(
        tuple(parser.parts),
        decimals=max(places, default=0),
        percent="%" in tokens,
        unordered=parser.unordered or not {"and", "or", "pm"}.isdisjoint(tokens),
        shape=parser.shape,
        elsewhere=tuple(tuple(_computed(tokens, letters, point).parts) for point in points),
    )


def _computed(tokens: list[str], letters: bool, point: int) -> Parser:
    """A parser that has consumed all tokens; "1 pm 2" is read with both signs."""
    parts: list[Number] = []
    for sign in ("+", "-") if "pm" in tokens else ("+",):
        named = {"and": ",", "or": ",", "pm": sign}
        parser = Parser([named.get(token, token) for token in tokens], letters, point)
        try:
            parser.read()
        except (ArithmeticError, ValueError) as error:
            raise UnreadableError(" ".join(tokens)) from error
        parts += parser.parts
    if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
        raise UnreadableError(" ".join(tokens))
    parser.parts = list(dict.fromkeys(parts)) if "or" in tokens else parts  # "3/4, or 0.75" is one number
    return parser
