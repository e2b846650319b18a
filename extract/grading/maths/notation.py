"""Converts what models write in LaTeX, with typographic signs, units and number words, to one plain notation."""

# ruff: noqa: RUF001 - models write typographic signs, in many alphabets

from __future__ import annotations

import functools
import re

from extract.grading.reading.characters import unified
from extract.grading.reading.words import SCALES, in_digits

# LaTeX and signs to plain notation, in this order.
_STYLES = (
    r"text(?:rm|bf|it|sf|tt|sc|up|normal)?|math(?:rm|bf|it|sf|tt|cal|bb|frak|scr|normal)|[mh]box|operatorname\*?"
    r"|boldsymbol|bm|pmb|underline|overline|bar|emph|ensuremath|rm|bf|it"
)
_REPLACEMENTS = (
    (r"\x0crac", r"\\frac"),  # "\f" read as a form feed, as in one reference answer of MathVision
    (r"\\\\(?=[a-zA-Z])", r"\\"),  # a backslash escaped twice
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\(?:left|right|middle|(?:display|text|script)style|[bB]igg?[lrm]?|limits|f?boxed|fbox)(?![a-zA-Z])", ""),
    (
        r"\\(?:begin|end)\s*\{[a-z]+\*?\}|\\(?:text)?color\s*\{[^{}]*\}|\\(?:tag|label|[hv]space)\*?\s*\{[^{}]*\}|(?<!\\)&",
        " ",
    ),
    (r"\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|~|\\[()\[\]]|\\\\", " "),
    (
        r"(?<![\d.])(\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))",
        lambda match: _repeating(*match.groups()),
    ),
    (rf"\\(?:{_STYLES})\s*\{{([^{{}}]*)\}}", r" \1 "),
    (rf"\\(?:{_STYLES})\s*\{{([^{{}}]*)\}}", r" \1 "),  # \textbf{\text{5}}
    (r"(?:\^\s?)?(?:\{\s?)?\\circ\s?\}?|\\degrees?|\^\{?°\}?", "°"),
    (r"°\s*[CF](?![a-zA-Z])", " degrees "),
    (r"\\(?:cdotp?|times|ast)(?![a-zA-Z])|[×·⋅∗]", "*"),
    (r"(?<=\d)\s*x\s*(?=\d)", "*"),  # 1.2 x 10^3
    (r"\\div(?![a-zA-Z])|÷", "/"),
    (r"\\(?:approx|simeq|cong)(?![a-zA-Z])|[≃≅∼≒]", "≈"),
    (r"\\(?:leq?(?:slant)?|lt)(?![a-zA-Z])|≤|⩽|<=", lambda match: "<" if match[0] == r"\lt" else "≤"),
    (r"\\(?:geq?(?:slant)?|gt)(?![a-zA-Z])|≥|⩾|>=", lambda match: ">" if match[0] == r"\gt" else "≥"),
    (r"\\in(?![a-zA-Z])|∈|\\equiv(?![a-zA-Z])", "="),
    (r"\\cup(?![a-zA-Z])|[∪⋃]", " cup "),
    (r"\\pm(?![a-zA-Z])|±", " pm "),
    (r"\\colon", ":"),
    (r"\b[Mm]inus\s+(?=\d)", "-"),
    (r"\\[lr]?vert(?![a-zA-Z])|\\mid(?![a-zA-Z])", "|"),
    (r"\\lfloor|⌊", " floor("),
    (r"\\lceil|⌈", " ceil("),
    (r"\\r(?:floor|ceil)|[⌋⌉]", ")"),
    (r"\\lbrace", "{"),
    (r"\\rbrace", "}"),
    (r"\\lg(?![a-zA-Z])", r"\\log"),
    (r"[πΠ𝜋]", " pi "),
    (r"∛", " sqrt[3] "),
    (r"√", " sqrt "),
    (r"∞|\\infty", " infty "),
    (r"\*\*", "^"),
    (r"\\?[$€£¥]|\\(?=[%{}])|[\"']", ""),
    (r"(\\[a-zA-Z]+)(?=\\[a-zA-Z])", r"\1 "),  # \pi\sqrt{2}
    (r"(?<![a-zA-Z])\\(?=[a-zA-Z])", ""),
    (r"(?<=[a-zA-Z])\\(?=[a-zA-Z])", "`"),  # keeps "x\frac12" from being read as the word xfrac, or as 1/2 after x
)
_COMPILED = tuple((re.compile(pattern), new) for pattern, new in _REPLACEMENTS)
_MATRIX = re.compile(r"\\+begin\s*\{((?:[pbvBV]|small)?matrix|array)\}(?:\{[^{}]*\})?(.*?)\\+end\s*\{\1\}", re.DOTALL)
_ROW_END = re.compile(r"\\\\+|\\cr(?![a-z])")
_WRAPPER = re.compile(rf"\\(?:{_STYLES}|f?boxed|fbox)\s*\{{([^{{}}]*)\}}")
_MATHS_SIGN = re.compile(r"\\[()\[\]]|\$|^[\s*]+|[\s*]+$|^\s*\{([^{}]*)\}\s*$")
_ENCLOSED = re.compile(
    rf"\$\$([^$]*)\$\$|\$([^$]*)\$|\\\(((?:(?!\\\)).)*)\\\)|\\\[((?:(?!\\\]).)*)\\\]|\\(?:{_STYLES}|f?boxed|fbox)\s*\{{([^{{}}]*)\}}",
    re.DOTALL,
)
_WRAPPING = re.compile(r"[$*{]")
_ANGLE = re.compile(r"sin|cos|tan|cot|sec|csc")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,|\{,\}|\\,| )\d{3})+(?![\d,])")  # 12,000; 12{,}000

_UNIT_NAMES = (
    "degrees? deg percent radians? rad units? cm mm km dm nm um ft feet foot inch inches in miles? mi mph kph yards? yd"
    " meters? metres? centimeters? centimetres? millimeters? millimetres? kilometers? kilometres? kg grams? kilograms?"
    " mg lbs? pounds? oz ounces? tons? liters? litres? ml cc gallons? sec seconds? ms min minutes? hrs? hours? days?"
    " weeks? months? years? dollars? cents? usd euros? points? hz khz mhz ghz pa kpa mpa atm psi ohms? kw mw gw kwh"
    " kj ev kev mev kn kv mv ma mol mmol cal kcal rpm acres? hectares? ha"
)
_POWER = r"(?:\s*\}?\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
# A single letter that could also be a variable is a unit only after a digit and a space.
_UNIT = (
    rf"(?:(?:square|sq\.?|cubic|cu\.?)\s*)?"
    rf"(?:{'|'.join(_UNIT_NAMES.split())}|[mgslh]|(?<=\d\s)[avwjnk])\.?{_POWER}"
)
# "12 cm", "12 {square inches}", "6 cm^2", "4 km / h"
_UNITS = re.compile(rf"[\s{{]*(?<![a-z])(?:{_UNIT})(?:\s*[/* ]?\s*(?:per\s+)?{_UNIT})*[\s}}]*$")
_TRAILING_WORDS = re.compile(
    r"[\s{]+(?!pi\b|infty\b|(?:[a-z]\s+)*[a-z]\}?$)[a-z][a-z\s-]+\}?$"
)  # "24 different triangles"
_LEADING_WORDS = re.compile(
    r"^\s*(?:(?:is|are|about|approximately|approx\.?|around|roughly|nearly|exactly|only|just|equals?|to|a|total|of)\s+)*"
)

_REPEATED = re.compile(r"(?<=\w)\s+\([\w\s]*\)$")  # "two (2)"
_SCALED = re.compile(rf"(.*\d)\s*({'|'.join(SCALES)})")
# Words in other alphabets around a number: "60度", "约12"; Greek letters are variables.
_OTHER_WORDS = re.compile(r"^(?:[^\W\da-zα-ω_]+\s*)+(?=[\d+-])|(?<=[\d)}%])(?:\s*[^\W\da-zα-ω_]+)+$")


@functools.lru_cache(maxsize=10_000)
def plain(text: str) -> str:
    """Converts LaTeX and signs to plain notation, in lower case."""
    text = unified(text)
    if "matrix" in text or "array" in text:
        text = _MATRIX.sub(_as_list, text)
    text = merged_thousands(text)
    for pattern, new in _COMPILED:
        text = pattern.sub(new, text)
    text = text.lower()
    return (text if _ANGLE.search(text) else text.replace("°", " ")).strip()  # degrees matter to sin(30°)


def _as_list(match: re.Match[str]) -> str:
    """A matrix as a list: its rows one after the other."""
    rows = [row.replace("&", ",") for row in _ROW_END.split(match[2]) if row.strip()]
    return f"({';'.join(rows)})"


def _repeating(whole: str, before: str, braced: str | None, digit: str | None) -> str:
    r"""0.1\overline{6} as a fraction."""
    period = braced or digit or ""
    nines = (10 ** len(period) - 1) * 10 ** len(before)
    return f"({int(whole + before + period or 0) - int(whole + before or 0)}/{nines})"


def merged_thousands(text: str) -> str:
    """Writes 12,000 and 12 000 as 12000."""
    return _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)


def unwrapped(text: str) -> str:
    r"""Removes LaTeX around words: "\text{(C)}" and "\( C \)" become "(C)" and "C"."""
    if "\\" not in text and not _WRAPPING.search(text):
        return text.strip()
    return _MATHS_SIGN.sub(r" \1", _WRAPPER.sub(r"\1", _WRAPPER.sub(r"\1", text))).strip()


def bare(text: str) -> str:
    r"""Removes LaTeX that encloses the whole text: "$\text{red}$" becomes "red"; "$50" stays "$50"."""
    text = text.strip()
    while match := _ENCLOSED.fullmatch(text):
        text = next(filter(None, match.groups()), "").strip()
    return text


def squash(text: str) -> str:
    """For expressions that cannot be parsed: plain notation without spaces and braces."""
    return re.sub(r"[\s{}]|\.$", "", re.sub(r"(?<=\d)\s+(?=\d)", ";", plain(text)))  # "1 2" is not 12


def without_words(text: str) -> tuple[str, str, str]:
    """A plain text without leading words and with "million" as a factor; also without units; also without words."""
    text = _REPEATED.sub("", _LEADING_WORDS.sub("", _OTHER_WORDS.sub("", text))).strip()
    text = in_digits(text)
    if scaled := _SCALED.fullmatch(text):
        text = f"({scaled[1]})*{SCALES[scaled[2]]}"
    bare = _UNITS.sub("", text)
    return text, bare, _TRAILING_WORDS.sub("", bare)
