"""A parser of arithmetic in plain notation: never runs text as code, and refuses what would take long to compute."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from fractions import Fraction

Number = Fraction | float
MAX_LENGTH = 200
_MAX_DEPTH = 25
_MAX_BITS = 20_000  # of a power: 3^1009 is in an answer of MathVision, 9^9^9 would never end

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "cot": lambda x: 1 / math.tan(x), "log": math.log10,
    "ln": math.log, "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan, "exp": math.exp,
}  # fmt: skip
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|"}
_DIGITS = "0123456789."
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d{1,3}(?![\da-z]))?|\.\d+|[a-z]+|[-+*/^()\[\]{}|,;:!%])")
# "2 1/3", "2 frac{1}{3}", "2 frac13", as tokens with spaces between them
_MIXED = re.compile(r"(\d+) (?:frac (?:\{ (\d+) \}|(\d)) (?:\{ (\d+) \}|(\d))|(\d+) / (\d+))(?= |$)")


class UnreadableError(ValueError):
    """The text is no expression that we know, or too large a one."""


@dataclasses.dataclass(frozen=True)
class Value:
    """What an answer is worth.

    Attributes:
      parts: one number, or several of a tuple or list.
      decimals: digits after the point of a number written as a decimal, else 0.
      percent: written with a percent sign; the parts are not divided by 100.
      unordered: the parts may come in any order ("5 and 8").
      symbolic: holds variables.
    """

    parts: tuple[Number, ...]
    decimals: int = 0
    percent: bool = False
    unordered: bool = False
    symbolic: bool = False


def parse(text: str, letters: bool) -> Value:
    """Compute an expression or a list of them; with `letters`, single letters are variables.

    Raises UnreadableError. A variable stands for a fixed number of its own, so that equal expressions in it are equal.
    """
    tokens = _tokens(text)
    parser = _Parser(["," if token == "and" else token for token in tokens], letters)
    try:
        parts = tuple(parser.list_of_values())
    except (ArithmeticError, ValueError) as error:
        raise UnreadableError(text) from error
    if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
        raise UnreadableError(text)
    places = [len(token.partition("e")[0].partition(".")[2]) for token in tokens if token[0] in _DIGITS]
    return Value(parts, max(places, default=0), "%" in tokens, "and" in tokens, parser.symbolic)


def _tokens(text: str) -> list[str]:
    text, tokens, place = text.strip(), [], 0
    if not text or len(text) > MAX_LENGTH:
        raise UnreadableError(text)
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise UnreadableError(text)
        one_digit = tokens[-1:] == ["frac"] and match[1].isdigit()  # \frac12 is a half
        tokens.append(match[1][0] if one_digit else match[1])
        place = match.start(1) + 1 if one_digit else match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[str], letters: bool):
        self.tokens = tokens
        self.letters = letters
        self.symbolic = False
        self.place = 0
        self.depth = 0

    def list_of_values(self) -> list[Number]:
        """All tokens: values between commas, in one pair of brackets or in none."""
        if self._is_bracketed_list():
            self.tokens = self.tokens[1:-1]
        values = [self.ratio()]
        while self._accept(",", ";"):
            self._accept(",")  # ", and"
            values.append(self.ratio())
        if self._peek():
            raise UnreadableError
        return values

    def _is_bracketed_list(self) -> bool:
        """Whether the first bracket closes with the last token and a comma lies directly in it."""
        if self._peek() not in ("(", "[", "{"):
            return False
        depth, comma = 0, False
        for i, token in enumerate(self.tokens):
            depth += (token in "([{") - (token in ")]}")
            comma |= depth == 1 and token in ",;"
            if depth == 0:
                return comma and i == len(self.tokens) - 1
        return False

    def ratio(self) -> Number:
        """a : b is a quotient."""
        value = self.sum()
        while self._accept(":"):
            value = value / self.sum()
        return value

    def sum(self) -> Number:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnreadableError
        value = self.product()
        while sign := self._accept("+", "-"):
            term = self.product()
            value = value + term if sign == "+" else value - term
        self.depth -= 1
        return value

    def product(self) -> Number:
        """Factors with or without a sign between them; "2 \\frac{1}{3}" and "2 1/3" are mixed numbers."""
        sign = -1 if self._accept("-") else 1
        self._accept("+")
        if (mixed := self._mixed_number()) is not None:
            return sign * mixed
        value = self.power()
        while True:
            if self._accept("*"):
                value = value * self.signed()
            elif self._accept("/"):
                value = value / self.signed()
            elif self._starts_factor():
                value = value * self.power()
            else:
                return sign * value

    def _starts_factor(self) -> bool:
        """Whether a factor follows without a sign: a name, a bracket, or a number after a bracket."""
        token = self._peek()
        if token and token[0] in _DIGITS:
            return self.tokens[self.place - 1] in (")", "]", "}")
        return bool(token) and (token[0].isalpha() or token in "([{")

    def _mixed_number(self) -> Fraction | None:
        match = _MIXED.match(" ".join(self.tokens[self.place : self.place + 8]))
        if match is None:
            return None
        whole, top, bottom = (int(number) for number in match.groups() if number)
        if not 0 < top < bottom:
            return None
        self.place += len(match[0].split(" "))
        return whole + Fraction(top, bottom)

    def signed(self) -> Number:
        return -self.signed() if self._accept("-") else self.power()

    def power(self) -> Number:
        base = self.atom()
        while self._accept("!"):
            base = _factorial(base)
        self._accept("%")
        return _power(base, self.signed()) if self._accept("^") else base

    def atom(self) -> Number:
        token = self._next()
        if token[0] in _DIGITS:
            return Fraction(token)
        if token in _CLOSING:
            value = self.sum()
            self._expect(_CLOSING[token])
            return abs(value) if token == "|" else value
        if token == "frac":
            top = self.atom()
            return top / self.atom()
        if token == "sqrt":
            return self._root()
        if token == "pi":
            return math.pi
        if token in _FUNCTIONS:
            return self._function(token)
        if self.letters and (len(token) == 1 or token == "infty"):
            self.symbolic = True
            return 1.3 + math.sqrt(sum(map(ord, token)))
        raise UnreadableError

    def _root(self) -> Number:
        degree = Fraction(2)
        if self._accept("["):
            degree = self.sum()
            self._expect("]")
        return _power(self.atom(), 1 / degree)

    def _function(self, name: str) -> float:
        if self._accept("^"):
            exponent = self.atom()
            if exponent == -1 and name in _INVERSES:
                name, exponent = _INVERSES[name], Fraction(1)
            return _FUNCTIONS[name](float(self.atom())) ** float(exponent)
        return _FUNCTIONS[name](float(self.power()))

    def _peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def _next(self) -> str:
        if not self._peek():
            raise UnreadableError
        self.place += 1
        return self.tokens[self.place - 1]

    def _accept(self, *wanted: str) -> str:
        if self._peek() and self._peek() in wanted:
            return self._next()
        return ""

    def _expect(self, wanted: str) -> None:
        if self._next() != wanted:
            raise UnreadableError


def _factorial(number: Number) -> Fraction:
    if not isinstance(number, Fraction) or number.denominator != 1 or not 0 <= number <= 200:
        raise UnreadableError
    return Fraction(math.factorial(int(number)))


def _power(base: Number, exponent: Number) -> Number:
    """Exact where both are rational and the result is; never a huge or a complex number."""
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
