r"""Values of mathematical answers in LaTeX or plain text: read by a small parser, never evaluated as code.

`read("\frac{1}{2}")`, `read("0.5")` and `read("50 %")` are equal values. Rational numbers stay exact, other ones are
floats; a variable stands for a fixed number of its own, so that equal expressions in it are equal numbers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from fractions import Fraction

Number = Fraction | float
_MAX_LENGTH = 200
_MAX_DEPTH = 25
_MAX_BITS = 20_000  # of a power or a factorial: 3^1009 is an answer of MathVision, 9^9^9 would never end

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "cot": lambda x: 1 / math.tan(x), "log": math.log10,
    "ln": math.log, "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan, "exp": math.exp,
}  # fmt: skip
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_WORDS.split())}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

# LaTeX and typography to one plain notation, in this order.
_PLAIN = (
    (r"\x0crac", r"\\frac"),  # "\f" read as a form feed, as in one reference answer of MathVision
    (r"\\\\(?=[a-zA-Z])", r"\\"),  # a backslash escaped twice
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\(?:left|right|displaystyle|bigg?|Bigg?|f?boxed|fbox)(?![a-zA-Z])", ""),
    (r"\\?\{,\}|(?<=\d)\\,(?=\d{3}(?!\d))|(?<=\d),(?=\d{3}(?:,\d{3})*(?![\d,]))", ""),  # 12{,}000, 12\,000, 12,000
    (r"(?<=\d)[ \u00a0\u202f](?=\d{3}(?!\d))", ""),  # 12 000
    (r"\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|~|\\[()\[\]]|\\\\", " "),
    (r"\\(?:text|mathrm|textbf|textit|mathbf|mathit|mbox|operatorname|rm|bf)\s*\{([^{}]*)\}", r" \1 "),
    (r"\^?\s*\{?\s*\\circ\s*\}?|\\degree(?:s)?|[°º˚]", " "),
    (r"\\(?:cdot|times|ast)(?![a-zA-Z])|[×·⋅∗]", "*"),
    (r"(?<=\d)\s*x\s*(?=\d)", "*"),  # 1.2 x 10^3
    (r"\\div(?![a-zA-Z])|÷|⁄", "/"),
    (r"\\(?:approx|simeq|fallingdotseq)(?![a-zA-Z])|≃|≅|∼", "≈"),
    (r"\\colon", ":"),
    (r"[−–‒]", "-"),
    (r"²", "^2"),
    (r"³", "^3"),
    (r"½", " 1/2"),
    (r"¼", " 1/4"),
    (r"¾", " 3/4"),
    (r"π", " pi "),
    (r"√", " sqrt "),
    (r"∞|\\infty", " infty "),
    (r"\*\*", "^"),
    (r"[$€£]|\\\$|\\(?=[%{}])|[\"“”']", ""),
    (r"(?<![a-zA-Z])\\(?=[a-zA-Z])", ""),
    (r"(?<=[a-zA-Z])\\(?=[a-zA-Z])", "`"),  # keeps "x\frac" from being read as a word or as a number after one
)  # fmt: skip
_PLAIN_COMPILED = tuple((re.compile(pattern), new) for pattern, new in _PLAIN)

_UNIT_NAMES = (
    "degrees? deg percent radians? units? cm mm km dm ft feet foot inch inches in miles? mi mph yards? meters? metres?"
    " centimeters? centimetres? millimeters? kilometers? kilometres? kg grams? kilograms? mg lbs? pounds? tons? liters?"
    " litres? ml sec seconds? ms min minutes? hrs? hours? days? weeks? months? years? dollars? cents? usd euros?"
    " points? hz khz mhz pa kpa mpa ohms?"
)
_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
# A single letter that may as well be a variable is a unit only after a digit and a space.
_UNIT = rf"(?:(?:square|sq\.?|cubic|cu\.?)\s*)?(?:{'|'.join(_UNIT_NAMES.split())}|[mgslh]|(?<=\d\s)[avwjnk])\.?{_POWER}"
# "12 cm", "12 {square inches}", "6 cm^2", "4 km / h"
_UNITS = re.compile(rf"[\s{{]*(?<![a-z])(?:{_UNIT})(?:\s*[/* ]?\s*(?:per\s+)?{_UNIT})*[\s}}]*$")
_TRAILING_WORDS = re.compile(r"[\s{]+(?!pi\b|infty\b)[a-z][a-z\s-]+\}?$")  # "24 different triangles"
_LEADING_WORDS = re.compile(
    r"^[\s≈]*(?:(?:is|are|about|approximately|approx\.?|around|roughly|nearly|exactly|only|just|equals?|to|a|total|of)\s+)*"
)
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d{1,3}(?![\da-z]))?|\.\d+|[a-z]+|[-+*/^()\[\]{}|,;:!%])")
# What could be a number inside a sentence; a digit after a letter, as in x2, is none.
_SPAN = re.compile(r"(?<![\w.\\`])(?<!\d[:/^])(?:[-+(\[{.]\s*)*(?:\d|frac\b|sqrt\b|pi\b)(?:\d|[-+*/^(){}:!%.\s]|frac|sqrt|pi\b)*")


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

    @property
    def key(self) -> str:
        """One text for values that agree as far as graders look: two decimals, or two digits below 1."""
        parts = [_shown(part) for part in self.parts]
        return ", ".join(sorted(parts) if self.unordered else parts)


class _Unreadable(ValueError):
    """The text is no mathematical expression that we know, or too large a one."""


def plain(text: str) -> str:
    """LaTeX and typography written in one plain notation, in lower case."""
    for pattern, new in _PLAIN_COMPILED:
        text = pattern.sub(new, text)
    return text.lower().strip()


def squash(text: str) -> str:
    """For expressions that cannot be read: their plain notation without spaces and braces."""
    return re.sub(r"[\s{}]|\.$", "", plain(text))


def read(text: str) -> Value | None:
    """The value of a text that is one mathematical answer, units and "x =" aside; None where it is no such thing."""
    return next(iter(_sides(text)), None)


def same(reference: str, response: str) -> bool:
    """Whether two texts have equal values, or are the same expression where they have none."""
    wanted = read(reference)
    return bool(wanted and same_value(wanted, response)) or squash(response) == squash(reference) != ""


def same_value(wanted: Value, response: str) -> bool:
    """Whether a text gives this value, be it as one side of an approximation."""
    return any(equal(wanted, given) for given in _sides(response))


def key(text: str) -> str:
    """One text for answers that agree as far as graders look, so that equal ones can be counted."""
    value = read(text)
    return value.key if value and not value.symbolic else squash(text)


def spans(text: str) -> list[str]:
    """The readable numbers and numeric expressions inside a sentence, in plain notation, from left to right."""
    text = re.sub(rf"\b(?:{'|'.join(NUMBER_WORDS)})\b", lambda match: NUMBER_WORDS[match[0]], plain(text[-2000:]))
    found = (_trimmed(match[0]) for match in _SPAN.finditer(text))
    return [span for span in found if _read_plain(span)]


def _sides(text: str) -> list[Value]:
    r"""What an equation says last: 5 of "x = 5", both sides of "A = 12\pi \approx 37.7"."""
    if len(text) > _MAX_LENGTH:
        return []
    last = plain(text).rstrip(" .,;:").rpartition("=")[2]
    values = [_read_plain(_LEADING_WORDS.sub("", side).strip()) for side in last.split("≈")]
    return [value for value in values if value]


def equal(reference: Value, response: Value) -> bool:
    """Mathematical equality; a decimal may be rounded to two digits or more after the point."""
    if len(reference.parts) != len(response.parts):
        return False
    unordered = reference.unordered or response.unordered
    pairs = list(zip(*[sorted(v.parts) if unordered else v.parts for v in (reference, response)], strict=True))
    if all(_close(a, b, reference, response) for a, b in pairs):
        return True
    if response.percent and not reference.percent:  # 25 % is 1/4; that it is 25 was seen above
        part = dataclasses.replace(response, decimals=response.decimals and response.decimals + 2)
        return all(_close(a, b / 100, reference, part) for a, b in pairs)
    return False


def _close(a: Number, b: Number, reference: Value, response: Value) -> bool:
    """Equal, or one rounds to the other."""
    if a == b or math.isclose(float_of(a), float_of(b), rel_tol=1e-9, abs_tol=1e-12):
        return True
    if reference.symbolic or response.symbolic:
        return False
    irrational = isinstance(b, float)
    a, b = float_of(a), float_of(b)
    distance = abs(a - b)
    if response.decimals:
        rounded = response.decimals >= 2 and distance <= 0.5 * 10**-response.decimals * (1 + 1e-9)
        return rounded or (f"{a:.2f}" == f"{b:.2f}" and distance <= 0.01 * abs(a))
    # An exact response in pi or roots to a reference that somebody rounded: 20 pi for 62.8.
    return irrational and reference.decimals > 0 and distance <= 0.5 * 10**-reference.decimals


def _shown(number: Number) -> str:
    """Two decimals, or two significant digits below 1; whole numbers in full."""
    if isinstance(number, Fraction) and number.denominator == 1:
        return str(number.numerator) if number.numerator.bit_length() < 1000 else f"{float_of(number):.6g}"
    value = float_of(number)
    text = f"{value:.2f}" if abs(value) >= 1 else f"{value:.2g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def float_of(number: Number) -> float:
    """The number as a float, infinite where it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _trimmed(span: str) -> str:
    """A span without the sentence marks around it and without brackets that have no partner."""
    span = span.lstrip(" .:,;!+*/^" if re.match(r"[ -]*-\s*[\dfsp.(]", span) else " :,;!+*/^-")
    for opening, closing in ("()", "{}"):
        span = span.rstrip(" .:,;!+*/^-" + opening)
        while span.count(opening) < span.count(closing) and span.endswith(closing):
            span = span[:-1].rstrip(" .:,;!+*/^-")
        while span.count(opening) > span.count(closing) and span.startswith(opening):
            span = span[1:].strip()
    return span


def _read_plain(text: str) -> Value | None:
    """Try the text as it is, then without units and words after it, then with letters as variables."""
    text = NUMBER_WORDS.get(text, text)
    scaled = re.fullmatch(rf"(.+?)\s*({'|'.join(_SCALES)})", text)
    if scaled:
        text = f"({scaled[1]})*{_SCALES[scaled[2]]}"
    bare = _UNITS.sub("", text)
    without_words = _TRAILING_WORDS.sub("", bare)
    for candidate, letters in ((text, False), (bare, False), (without_words, False), (text, True)):
        try:
            return _parse(candidate, letters)
        except (_Unreadable, ArithmeticError, ValueError):
            continue
    return None


def _parse(text: str, letters: bool) -> Value:
    """The value of one expression or of a list of them."""
    tokens = _tokens(text)
    unordered = "and" in tokens
    parser = _Parser([("," if token == "and" else token) for token in tokens], letters)
    parts = parser.list_of_values()
    if not all(math.isfinite(float_of(part)) or isinstance(part, Fraction) for part in parts):
        raise _Unreadable
    decimals = max((len(token.split("e")[0].partition(".")[2]) for token in tokens if token[0] in "0123456789."), default=0)
    return Value(tuple(parts), decimals, "%" in tokens, unordered, parser.symbolic)


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    text = text.replace("`", " ").strip()
    if not text or len(text) > _MAX_LENGTH:
        raise _Unreadable
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _Unreadable
        one_digit = tokens[-1:] == ["frac"] and match[1].isdigit()  # \\frac12 is a half
        tokens.append(match[1][0] if one_digit else match[1])
        place = match.start(1) + 1 if one_digit else match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens of one expression."""

    CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|"}  # noqa: RUF012

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
            raise _Unreadable
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
            raise _Unreadable
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
            elif (token := self._peek()) and (token[0].isalpha() or token in "([{"):
                value = value * self.power()
            else:
                return sign * value

    def _mixed_number(self) -> Fraction | None:
        ahead = " ".join(self.tokens[self.place : self.place + 8])
        match = re.match(r"(\d+) (?:frac (?:\{ (\d+) \}|(\d)) (?:\{ (\d+) \}|(\d))|(\d+) / (\d+))(?= |$)", ahead)
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
        if token[0] in "0123456789.":
            return Fraction(token)
        if token in self.CLOSING:
            value = self.sum()
            self._expect(self.CLOSING[token])
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
        raise _Unreadable

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
            raise _Unreadable
        self.place += 1
        return self.tokens[self.place - 1]

    def _accept(self, *wanted: str) -> str:
        if self._peek() and self._peek() in wanted:
            return self._next()
        return ""

    def _expect(self, wanted: str) -> None:
        if self._next() != wanted:
            raise _Unreadable


def _factorial(number: Number) -> Fraction:
    if not isinstance(number, Fraction) or number.denominator != 1 or not 0 <= number <= 200:
        raise _Unreadable
    return Fraction(math.factorial(int(number)))


def _power(base: Number, exponent: Number) -> Number:
    """Exact where both are rational and the result is; never a huge or a complex number."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) > _MAX_BITS:
            raise _Unreadable
        if exponent.denominator == 1:
            return base ** int(exponent)
        if exponent == Fraction(1, 2) and base >= 0:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            return root if root * root == base else math.sqrt(base)
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise _Unreadable
    return result
