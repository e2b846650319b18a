"""One plain notation for what models write in LaTeX, with typographic signs, units and words for numbers."""

from __future__ import annotations

import re

# LaTeX and typography to plain notation, in this order.
_REPLACEMENTS = (
    (r"\x0crac", r"\\frac"),  # "\f" read as a form feed, as in one reference answer of MathVision
    (r"\\\\(?=[a-zA-Z])", r"\\"),  # a backslash escaped twice
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\(?:left|right|displaystyle|bigg?|Bigg?|f?boxed|fbox)(?![a-zA-Z])", ""),
    (r"\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|~|\\[()\[\]]|\\\\", " "),
    (r"\\(?:text|mathrm|textbf|textit|mathbf|mathit|mbox|operatorname|rm|bf)\s*\{([^{}]*)\}", r" \1 "),
    (r"(?:\^\s?)?(?:\{\s?)?\\circ\s?\}?|\\degrees?|[°º˚]", " "),
    (r"\\(?:cdot|times|ast)(?![a-zA-Z])|[×·⋅∗]", "*"),  # noqa: RUF001
    (r"(?<=\d)\s*x\s*(?=\d)", "*"),  # 1.2 x 10^3
    (r"\\div(?![a-zA-Z])|[÷⁄]", "/"),  # noqa: RUF001
    (r"\\(?:approx|simeq)(?![a-zA-Z])|[≃≅∼]", "≈"),  # noqa: RUF001
    (r"\\colon", ":"),
    (r"[−–‒]", "-"),  # noqa: RUF001
    (r"\b[Mm]inus\s+(?=\d)", "-"),
    (r"²", "^2"),
    (r"³", "^3"),
    (r"½", " 1/2"),
    (r"¼", " 1/4"),
    (r"¾", " 3/4"),
    (r"π", " pi "),
    (r"√", " sqrt "),
    (r"∞|\\infty", " infty "),
    (r"\*\*", "^"),
    (r"\\?[$€£]|\\(?=[%{}])|[\"“”']", ""),
    (r"(?<![a-zA-Z])\\(?=[a-zA-Z])", ""),
    (r"(?<=[a-zA-Z])\\(?=[a-zA-Z])", "`"),  # keeps "x\frac12" from being read as the word xfrac, or as 1/2 after x
)
_COMPILED = tuple((re.compile(pattern), new) for pattern, new in _REPLACEMENTS)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,|\{,\}|\\,|[ \u00a0\u202f])\d{3})+(?![\d,])")  # 12,000; 12{,}000

_UNIT_NAMES = (
    "degrees? deg percent radians? units? cm mm km dm ft feet foot inch inches in miles? mi mph yards? meters? metres?"
    " centimeters? centimetres? millimeters? millimetres? kilometers? kilometres? kg grams? kilograms? mg lbs? pounds?"
    " tons? liters? litres? ml sec seconds? ms min minutes? hrs? hours? days? weeks? months? years? dollars? cents?"
    " usd euros? points? hz khz mhz pa kpa mpa ohms?"
)
_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
# A single letter that may as well be a variable is a unit only after a digit and a space.
_UNIT = (
    rf"(?:(?:square|sq\.?|cubic|cu\.?)\s*)?"
    rf"(?:{'|'.join(_UNIT_NAMES.split())}|[mgslh]|(?<=\d\s)[avwjnk])\.?{_POWER}"
)
# "12 cm", "12 {square inches}", "6 cm^2", "4 km / h"
_UNITS = re.compile(rf"[\s{{]*(?<![a-z])(?:{_UNIT})(?:\s*[/* ]?\s*(?:per\s+)?{_UNIT})*[\s}}]*$")
_TRAILING_WORDS = re.compile(r"[\s{]+(?!pi\b|infty\b)[a-z][a-z\s-]+\}?$")  # "24 different triangles"
_LEADING_WORDS = re.compile(
    r"^\s*(?:(?:is|are|about|approximately|approx\.?|around|roughly|nearly|exactly|only|just|equals?|to|a|total|of)\s+)*"
)

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBERS = {word: str(value) for value, word in enumerate(_ONES)}
_NUMBERS |= {ten: str(10 * value) for value, ten in enumerate(_TENS, start=2)}
_NUMBERS |= {f"{ten}-{one}": str(int(_NUMBERS[ten]) + int(_NUMBERS[one])) for ten in _TENS for one in _ONES[1:10]}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_REPEATED = re.compile(r"(?<=\w)\s+\([\w\s]*\)$")  # "two (2)"
_SCALED = re.compile(rf"(.*\d)\s*({'|'.join(_SCALES)})")


def plain(text: str) -> str:
    """LaTeX and typography written in one plain notation, in lower case."""
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    for pattern, new in _COMPILED:
        text = pattern.sub(new, text)
    return text.lower().strip()


def squash(text: str) -> str:
    """For expressions that cannot be read: their plain notation without spaces and braces."""
    return re.sub(r"[\s{}]|\.$", "", plain(text))


def in_digits(text: str) -> str:
    """Words for numbers below 100 as digits."""
    return re.sub(r"\b[a-z]+(?:-[a-z]+)?\b", lambda match: _NUMBERS.get(match[0], match[0]), text)


def without_words(text: str) -> tuple[str, str, str]:
    """A plain text without words before it and with "million" as a factor; without units; without any words."""
    text = _REPEATED.sub("", _LEADING_WORDS.sub("", text)).strip()
    text = _NUMBERS.get(text, text)
    if scaled := _SCALED.fullmatch(text):
        text = f"({scaled[1]})*{_SCALES[scaled[2]]}"
    bare = _UNITS.sub("", text)
    return text, bare, _TRAILING_WORDS.sub("", bare)
