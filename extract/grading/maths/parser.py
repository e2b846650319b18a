"""A parser of arithmetic in plain notation. It never runs text as code and refuses what would take long to compute."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import cast

from extract.grading.maths.arithmetic import (
    FUNCTIONS,
    INVERSES,
    TRIGONOMETRY,
    Number,
    UnreadableError,
    binomial,
    factorial,
    logarithm,
    power,
    variable,
)

MAX_LENGTH = 200
_MAX_DEPTH = 25
_CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|"}
DIGITS = "0123456789."
_TOKEN = re.compile(
    r"[\s`]*(\d+(?:\.\d+)?(?:e[+-]?\d{1,3}(?![\da-z]))?|\.\d+|[a-z]+|[α-ω]|[-+*/^()\[\]{}|,;:!%°_<>≤≥])"  # noqa: RUF001
)
# "2 1/3", "2 frac{1}{3}", "2 frac13", as tokens with spaces between them
_MIXED = re.compile(r"(\d+) (?:frac (?:\{ (\d+) \}|(\d)) (?:\{ (\d+) \}|(\d))|(\d+) / (\d+))(?= |$)")


def tokenised(text: str) -> list[str]:
    tokens: list[str] = []
    text, place = text.strip(), 0
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


class Parser:
    """Recursive descent over the tokens of one answer. `read` fills `parts`, `shape` and the other attributes."""

    def __init__(self, tokens: list[str], letters: bool, point: int):
        self.tokens = tokens
        self.letters = letters
        self.point = point
        self.parts: list[Number] = []
        self.shape = ""
        self.unordered = False
        self.symbolic = False
        self.in_degrees = False
        self.place = 0
        self.depth = 0

    def read(self) -> None:
        """Parse all tokens: comma-separated values, alone or in brackets; a union of intervals; a relation."""
        if brackets := self._list_here():
            self.unordered = brackets == "{}"
            self._bracketed_list(brackets, whole=self._closing_place() == len(self.tokens) - 1)
        else:
            self.parts += self.relation()
        while sign := self._accept(",", ";", "cup"):
            self.shape += "u" if sign == "cup" else ""
            self._accept(",")  # ", and"
            if brackets := self._list_here():
                self._bracketed_list(brackets, whole=False)
            else:
                self.parts += self.relation()
        if self._peek():
            raise UnreadableError

    def _bracketed_list(self, brackets: str, whole: bool) -> None:
        """Parse values in brackets. The kind of bracket matters for half-open intervals and for several lists."""
        self._next()
        self.parts += self.relation()
        while self._accept(",", ";"):
            self.parts += self.relation()
        self._expect(brackets[1])
        if brackets in ("[)", "(]") or not whole:
            self.shape += brackets

    def _closing_place(self) -> int:
        """The position of the bracket that closes the one opening here; -1 when there is none."""
        depth = 0
        for i in range(self.place, len(self.tokens)):
            depth += (self.tokens[i] in "([{") - (self.tokens[i] in ")]}")
            if depth == 0:
                return i
        return -1

    def _list_here(self) -> str:
        """The brackets of a list that begins here and ends before a comma, a union or the end; else ""."""
        end = self._closing_place() if self._peek() in ("(", "[", "{") else -1
        if end < 0 or (self.tokens[end + 1 :] and self.tokens[end + 1] not in (",", ";", "cup")):
            return ""
        depth = 0
        for token in self.tokens[self.place : end]:
            depth += (token in "([{") - (token in ")]}")
            if depth == 1 and token in ",;":
                return self._peek() + self.tokens[end]
        return ""

    def relation(self) -> list[Number]:
        """Parse one value, or both sides of "x < 5", smaller side first."""
        values = self.ratio()
        while sign := self._accept("<", "≤", ">", "≥"):
            self.shape += {">": "<", "≥": "≤"}.get(sign, sign)
            values = self.ratio() + values if sign in ">≥" else values + self.ratio()
        return values

    def ratio(self) -> list[Number]:
        """Parse a ratio: a : b is one quotient, a : b : c is two."""
        values = [self.sum()]
        while self._accept(":"):
            values.append(self.sum())
        if len(values) == 2:
            return [values[0] / values[1]]
        return [value / values[0] for value in values[1:]] or values

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
        """Parse factors with or without a sign between them. "2 \\frac{1}{3}" and "2 1/3" are mixed numbers."""
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
        if token and token[0] in DIGITS:
            return self.tokens[self.place - 1] in (")", "]", "}")
        return bool(token) and token != "cup" and (token[0].isalpha() or token in "([{")

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
            base = factorial(base)
        self._accept("%")
        self.in_degrees |= bool(self._accept("°"))
        return power(base, self.signed()) if self._accept("^") else base

    def atom(self) -> Number:
        token = self._next()
        if token[0] in DIGITS:
            return Fraction(token)
        if token in _CLOSING:
            value = self.sum()
            self._expect(_CLOSING[token])
            return cast(Number, abs(value)) if token == "|" else value  # mypy: abs() of a union is an object
        if token == "frac":
            top = self.atom()
            return top / self.atom()
        if token == "binom":
            n = self.atom()
            return binomial(n, self.atom())
        if token == "sqrt":
            return self._root()
        if token == "pi":
            return math.pi
        if token in FUNCTIONS:
            return self._function(token)
        if token == "e" and self._peek() == "^":
            return math.e
        if self.letters:
            return self._variable(token)
        raise UnreadableError

    def _variable(self, token: str) -> Number:
        """Parse a letter with or without an index, or infinity."""
        self.symbolic = True
        if token == "infty":
            return variable(token, self.point)
        if len(token) > 1:
            raise UnreadableError
        index = self._index() if self._accept("_") else ""
        return variable(token + index, self.point)

    def _index(self) -> str:
        """Parse what follows "_": one token, or the tokens in braces."""
        if not self._accept("{"):
            return self._next()
        tokens = []
        while (token := self._next()) != "}":
            tokens.append(token)
        return "".join(tokens)

    def _root(self) -> Number:
        degree: Number = Fraction(2)
        if self._accept("["):
            degree = self.sum()
            self._expect("]")
        return power(self.atom(), 1 / degree)

    def _function(self, name: str) -> Number:
        base = self.atom() if name == "log" and self._accept("_") else None
        exponent: Number = Fraction(1)
        if self._accept("^"):
            exponent = self.atom() if self._peek() != "-" else self.signed()
            if exponent == -1 and name in INVERSES:
                name, exponent = INVERSES[name], Fraction(1)
        outside, self.in_degrees = self.in_degrees, False
        argument = self._argument(name)
        if self.in_degrees and name in TRIGONOMETRY:
            argument = float(argument) * math.pi / 180
        self.in_degrees = outside
        if base is not None:
            return logarithm(base, argument)
        value = FUNCTIONS[name](float(argument))
        return Fraction(value) if isinstance(value, int) else value ** float(exponent)

    def _argument(self, name: str) -> Number:
        """Parse a function's argument: (x + 1), or 2x without brackets."""
        bracketed = self._peek() in _CLOSING or self._peek() == "frac"
        value = self.power()
        while (
            not bracketed and self._starts_factor() and self._peek() not in FUNCTIONS and self._peek() not in _CLOSING
        ):
            value = value * self.power()
        return value

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
